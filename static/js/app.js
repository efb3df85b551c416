// Small behaviours, each switched on by a data attribute. Every page works without them.

function onClick(selector, act) {
  document.addEventListener("click", (event) => {
    const element = event.target.closest?.(selector);
    if (element) act(element, event);
  });
}

async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  // Plain http on another host than localhost: the clipboard API does not exist there.
  const area = document.createElement("textarea");
  area.value = text;
  area.setAttribute("readonly", "");
  area.className = "sr-only";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("The browser refused to copy.");
}

// [data-copy="id"]: copy the text of that element and say so for a moment.
onClick("[data-copy]", async (button) => {
  const source = document.getElementById(button.dataset.copy);
  if (!source) return;
  try {
    await copyText(source.dataset.value ?? source.textContent.trim());
  } catch {
    window.getSelection()?.selectAllChildren(source);
    return;
  }
  sayCopied(button);
});

// [data-copy-text="…"]: copy that text.
onClick("[data-copy-text]", async (button) => {
  await copyText(button.dataset.copyText).then(() => sayCopied(button), () => {});
});

function sayCopied(button) {
  if (button.dataset.said) return;
  button.dataset.said = "yes";
  const label = [...button.childNodes];
  button.replaceChildren(button.dataset.copied);
  window.setTimeout(() => { button.replaceChildren(...label); delete button.dataset.said; }, 2000);
}

// [data-open="id"] opens a <dialog>; [data-close] closes the one around it.
onClick("[data-open]", (button) => document.getElementById(button.dataset.open)?.showModal());
onClick("[data-close]", (button) => button.closest("dialog")?.close());

// A dialog that came back from the server with errors opens by itself.
for (const dialog of document.querySelectorAll("dialog[data-open-now]")) dialog.showModal();

// [data-dismiss] removes the message around it.
onClick("[data-dismiss]", (button) => button.closest("[data-dismissible]")?.remove());

// [data-toggle="id"] shows and hides an element on small screens.
onClick("[data-toggle]", (button) => {
  const hidden = document.getElementById(button.dataset.toggle)?.classList.toggle("max-lg:hidden");
  button.setAttribute("aria-expanded", String(!hidden));
});

// select[data-submit-on-change] submits its form; the button beside it is for browsers without script.
for (const button of document.querySelectorAll("[data-hide-with-script]")) button.hidden = true;
document.addEventListener("change", (event) => {
  if (event.target.matches?.("[data-submit-on-change]")) event.target.form.requestSubmit();
});

// input[data-must-equal]: the button of the form stays off until the name is typed exactly.
document.addEventListener("input", (event) => {
  const input = event.target;
  if (!input.matches?.("[data-must-equal]")) return;
  const button = input.form.querySelector("[data-needs-name]");
  button.disabled = input.value !== input.dataset.mustEqual;
});
for (const button of document.querySelectorAll("[data-needs-name]")) button.disabled = true;

// A form is sent once, however often its button is clicked.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || form.dataset.sent) {
    if (form.dataset.sent) event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted) for (const form of document.forms) delete form.dataset.sent;
});

// time[data-local-title]: UTC on the page, the reader's own zone on hover, or in its place once
// [data-local-times] is clicked.
const DIGITS = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZoneName: "short" };
let isLocal = false;

function writeTimes(root) {
  const { lang, dataset: { timeZone } } = document.documentElement;
  // Our English writes dates as Swedish does: 2030-01-31.
  const figures = lang === "en" ? "sv" : lang;
  for (const time of root.querySelectorAll("time[data-local-title]")) {
    const moment = new Date(time.dateTime);
    time.dataset.utc ??= time.textContent;
    time.title = isLocal ? `${time.dataset.utc.replace(" UTC", "")} UTC` : moment.toLocaleString(lang, { dateStyle: "full", timeStyle: "long", timeZone });
    time.textContent = isLocal ? moment.toLocaleString(figures, { ...DIGITS, timeZone }) : time.dataset.utc;
  }
}
function offerZone() {
  const none = !document.querySelector("time[data-local-title]");
  for (const element of document.querySelectorAll("[data-local-times], [data-with-times]")) element.hidden = none;
}
writeTimes(document);
offerZone();
document.addEventListener("htmx:afterSwap", () => { writeTimes(document); offerZone(); });
onClick("[data-local-times]", (button) => {
  isLocal = !isLocal;
  [button.textContent, button.dataset.other] = [button.dataset.other, button.textContent];
  writeTimes(document);
});
