// figure[data-chart="id"]: draws the facts in the JSON element of that id with uPlot.
// The table beside it says the same; without script nothing is lost.

const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--color-${name}`).trim();
const language = document.documentElement.lang || "en";

const written = (pattern, number) => pattern.replace("%(number)s", () => number);
const UNITS = {
  usd: (value, facts) => written(facts.usd, value.toLocaleString(language, { minimumFractionDigits: 2, maximumFractionDigits: 9 })),
  count: (value) => value.toLocaleString(language),
  ms: (value, facts) => written(facts.ms, value.toLocaleString(language)),
};

// Dates as the table beside it writes them: 2030-01-31 in English.
function day(at, parts) {
  const moment = new Date(at * 1000);
  if (language === "en") return moment.toISOString().slice(parts.year ? 0 : 5, 10);
  return moment.toLocaleDateString(language, { timeZone: "UTC", month: "2-digit", day: "2-digit", ...parts });
}

// Bars stand on each other: the last series is drawn first and reaches over all of them.
function stacked(series) {
  const tops = series.map((each) => [...each.values]);
  for (let row = 1; row < tops.length; row++) tops[row] = tops[row].map((value, at) => value + tops[row - 1][at]);
  return tops;
}

function options(facts, width, order) {
  const say = (value) => UNITS[facts.unit](value, facts);
  const bars = facts.kind === "bars";
  const axis = { stroke: ink("base-content"), grid: { stroke: ink("base-300"), width: 1 }, ticks: { show: false } };
  return {
    width,
    height: 260,
    tzDate: (at) => window.uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    // Half a day on each side, so that the bars at the ends are whole and no point stands on an axis.
    scales: { x: { range: (_, first, last) => [first - 43200, last + 43200] }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.05 : 1] } },
    cursor: { y: false },
    axes: [
      { ...axis, values: (_, splits) => splits.map((at) => day(at, {})), incrs: [86400, 2 * 86400, 7 * 86400, 14 * 86400, 28 * 86400, 91 * 86400], space: 56, gap: 14, size: 46 },
      { ...axis, values: (_, splits) => splits.map((value) => say(value)), size: 80 },
    ],
    series: [
      { label: facts.day, value: (_, at) => (at == null ? "–" : day(at, { year: "numeric" })) },
      ...order.map((row) => {
        const { label, values } = facts.series[row];
        const color = ink(`plot-${facts.series[row].ink}`);
        return {
          label,
          stroke: color,
          value: (_, __, ___, at) => (at == null || values[at] == null ? "–" : say(values[at])),
          ...(bars
            ? { fill: color, paths: window.uPlot.paths.bars({ size: [0.7, 40] }), points: { show: false } }
            : { width: 2, spanGaps: true }),
        };
      }),
    ],
  };
}

function draw(figure) {
  const facts = JSON.parse(document.getElementById(figure.dataset.chart).textContent);
  const place = figure.querySelector("[data-plot]");
  const bars = facts.kind === "bars";
  const order = facts.series.map((_, row) => row);
  if (bars) order.reverse();
  const heights = bars ? stacked(facts.series) : facts.series.map((each) => each.values);
  const columns = [facts.days, ...order.map((row) => heights[row])];
  const plot = new window.uPlot(options(facts, place.clientWidth, order), columns, place);
  const watch = new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: 260 }));
  watch.observe(place);
  return () => { watch.disconnect(); plot.destroy(); };
}

// A canvas keeps its colours: where the system turns dark or light it is drawn anew.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
for (const figure of document.querySelectorAll("[data-chart]")) {
  let erase = draw(figure);
  dark.addEventListener("change", () => { erase(); erase = draw(figure); });
}
