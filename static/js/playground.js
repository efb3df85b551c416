// The playground: asks Django for a key that soon ends and calls the gateway like anybody else.
// The key stays in this module; it is neither stored nor shown.

const root = document.getElementById("playground");
const words = root.dataset;
const refusals = JSON.parse(document.getElementById("playground-refusals").textContent);
// An Error in the reader's words, with where to do something about it.
function refused(error, otherwise) {
  const told = refusals[error?.reason];
  return Object.assign(new Error(told?.text ?? error?.message ?? otherwise), { action: told?.action, href: told?.href });
}
// What fetch() throws where nothing answers is a TypeError with the browser's own words.
const inWords = (error) => (error instanceof TypeError ? words.broken : error.message);
const find = (name) => root.querySelector(`[data-part="${name}"]`);
// Exact digits with the reader's decimal sign.
const exact = (usd) => usd.replace(".", (1.5).toLocaleString(document.documentElement.lang).charAt(1));
const state = { key: null, ends: 0, messages: [], running: null };

async function key() {
  if (state.key && Date.now() < state.ends) return state.key;
  const token = root.querySelector("[name=csrfmiddlewaretoken]").value;
  const answer = await fetch(words.keyUrl, { method: "POST", headers: { "x-csrftoken": token } });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error.message);
  state.key = told.key;
  state.ends = Date.now() + (told.lives_s - 60) * 1000;
  return state.key;
}

async function call(path, body, signal) {
  const headers = { authorization: `Bearer ${await key()}`, "content-type": "application/json" };
  const answer = await fetch(path, {
    method: "POST", headers, signal, credentials: "omit", body: JSON.stringify(body),
  });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  const failure = refused(told.error, `${answer.status}`);
  failure.request = answer.headers.get("x-request-id");
  throw failure;
}

// Server-sent events: one JSON text per "data:" line; comments and [DONE] are no data.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:") && !line.includes("[DONE]")) yield JSON.parse(line.slice(5));
    }
  }
}

function bubble(role, text) {
  const place = document.createElement("div");
  place.className = role === "user" ? "ms-auto max-w-[85%] rounded-box bg-base-200 px-4 py-2" : "max-w-[85%] px-1 py-2";
  place.dataset.testid = `message-${role}`;
  const name = document.createElement("p");
  name.className = "muted text-xs";
  name.textContent = role === "user" ? words.you : find("model").value;
  const said = document.createElement("p");
  said.className = "text-sm leading-relaxed whitespace-pre-wrap wrap-anywhere";
  said.textContent = text;
  place.append(name, said);
  find("talk").append(place);
  find("nothing").hidden = true;
  return said;
}

function busy(on) {
  find("run").hidden = on;
  find("stop").hidden = !on;
  find("talk").setAttribute("aria-busy", String(on));
}

function complain(error, place) {
  place.textContent = inWords(error);
  if (error.href) {
    const link = document.createElement("a");
    link.className = "prose-link";
    link.href = error.href;
    link.textContent = error.action;
    place.append(" ", link);
  }
  place.hidden = false;
}

// What a run cost is asked of the gateway: a cancelled one is settled a moment later.
async function receipt(request) {
  for (let tries = 0; tries < 40; tries++) {
    const answer = await fetch(`/v1/generation?id=${encodeURIComponent(request)}`, {
      headers: { authorization: `Bearer ${await key()}` }, credentials: "omit",
    });
    if (answer.ok) {
      const { data } = await answer.json();
      if (data.state !== "pending") return data;
    }
    await new Promise((go) => window.setTimeout(go, 250));
  }
  return null;
}

async function account(request, stopped) {
  if (!request) return;
  const line = document.createElement("li");
  line.className = "flex flex-wrap items-baseline justify-between gap-x-4 gap-y-1 py-2 text-sm";
  line.dataset.testid = "run";
  const what = document.createElement("span");
  const price = document.createElement("span");
  price.className = "number font-medium";
  price.dataset.testid = "run-cost";
  const link = document.createElement("a");
  link.className = "prose-link";
  link.textContent = words.receipt;
  link.href = words.receiptUrl.replace("req_0", request);
  line.append(what, price, link);
  find("runs").prepend(line);
  find("no-runs").hidden = true;
  what.textContent = words.counting;
  const told = await receipt(request);
  price.textContent = told ? words.dollars.replace("%(number)s", () => exact(told.charge.usd)) : "–";
  // A picture uses none.
  const tokens = told ? [told.tokens.input + told.tokens.cached_input, told.tokens.output] : [0, 0];
  const counts = tokens.map((each) => each.toLocaleString(document.documentElement.lang)).join(" → ");
  const parts = [stopped ? words.stopped : words.done, told?.model, tokens.some(Boolean) && `${counts} ${words.tokens}`];
  what.textContent = parts.filter(Boolean).join(" · ");
}

function chatBody() {
  const body = { model: find("model").value, messages: [...state.messages], stream: true };
  const system = find("system").value.trim();
  if (system) body.messages.unshift({ role: "system", content: system });
  const limit = Number(find("limit").value);
  if (limit) body.max_tokens = limit;
  return body;
}

async function chat() {
  const text = find("message").value.trim();
  if (!text || state.running) return;
  const running = new AbortController();
  state.running = running;
  find("trouble").hidden = true;
  find("message").value = "";
  state.messages.push({ role: "user", content: text });
  const asked = bubble("user", text).parentElement;
  busy(true);
  showCode();
  let request = null;
  let said = null;
  try {
    const answer = await call("/v1/chat/completions", chatBody(), running.signal);
    request = answer.headers.get("x-request-id");
    said = bubble("assistant", "");
    for await (const event of events(answer.body)) {
      if (event.error) throw refused(event.error);
      said.textContent += event.choices?.[0]?.delta?.content ?? "";
      find("talk").scrollTop = find("talk").scrollHeight;
    }
  } catch (error) {
    if (error.name !== "AbortError") complain(error, find("trouble"));
    if (!said) {
      // Nobody heard it: it can be sent again as it was.
      state.messages.pop();
      asked.remove();
      find("nothing").hidden = find("talk").childElementCount > 0;
      if (!find("message").value) find("message").value = text;
    }
  }
  if (said) state.messages.push({ role: "assistant", content: said.textContent });
  state.running = null;
  busy(false);
  find("message").focus();
  await account(request, running.signal.aborted);
}

async function paint() {
  const prompt = find("picture-prompt").value.trim();
  if (!prompt) return;
  const button = find("paint");
  const body = { model: find("picture-model").value, prompt, n: 1 };
  for (const name of ["size", "quality"]) body[name] = find(`picture-${name}`).value;
  if (!body.model.includes("gpt-image")) body.response_format = "b64_json";
  button.disabled = true;
  find("picture-trouble").hidden = true;
  try {
    const answer = await call("/v1/images/generations", body);
    const { data } = await answer.json();
    const picture = find("picture");
    picture.src = `data:image/png;base64,${data[0].b64_json}`;
    picture.alt = prompt;
    picture.hidden = false;
    await account(answer.headers.get("x-request-id"), false);
  } catch (error) {
    complain(error, find("picture-trouble"));
  }
  button.disabled = false;
}

function showCode() {
  const body = JSON.stringify(chatBody(), null, 2);
  find("code").textContent = [
    `curl -N ${words.baseUrl}/chat/completions \\`,
    `  -H "Authorization: Bearer ${words.placeholder}" \\`,
    '  -H "Content-Type: application/json" \\',
    `  -d @- <<'JSON'\n${body}\nJSON`,
  ].join("\n");
}

find("chat-form")?.addEventListener("submit", (event) => { event.preventDefault(); chat(); });
find("message")?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) chat();
});
find("stop")?.addEventListener("click", () => state.running?.abort());
find("clear")?.addEventListener("click", () => {
  state.messages = [];
  find("talk").replaceChildren();
  find("nothing").hidden = false;
  showCode();
});
find("chat-form")?.addEventListener("input", showCode);
find("picture-form")?.addEventListener("submit", (event) => { event.preventDefault(); paint(); });
if (find("code")) showCode();
