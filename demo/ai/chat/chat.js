// The conversation: it is kept here, sent whole with each question, and shown as text, never as markup.

const element = (id) => document.getElementById(id);
const log = element("log"), text = element("text"), model = element("model"), status = element("status");
const ENDS = { content_filter: "Ended by a filter. ", length: "Ended at the limit. " };
let messages = [];
let running = null;

async function listModels() {
  const { models, problem } = await (await fetch("/models")).json();
  model.replaceChildren(...models.map((name) => new Option(name)));
  const wanted = new URLSearchParams(location.search).get("model");
  if (models.includes(wanted)) model.value = wanted;
  status.textContent = problem ?? "";
}

function card(kind, title) {
  const article = document.createElement("article");
  article.className = kind;
  for (const [name, content] of [["h2", title], ["p", ""], ["footer", ""]]) {
    article.append(Object.assign(document.createElement(name), { textContent: content }));
  }
  element("empty")?.remove();
  log.append(article);
  scrollDown();
  return article;
}

function scrollDown() {
  log.scrollTop = log.scrollHeight;
}

// As high as what is typed, up to the height that the style allows.
function fit() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + text.offsetHeight - text.clientHeight}px`;
  text.style.overflowY = text.scrollHeight > text.clientHeight ? "auto" : "hidden";
}

// The server's lines of JSON, as soon as each is whole.
async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (held + value).split("\n");
    held = whole.pop();
    for (const line of whole) yield JSON.parse(line);
  }
}

function refuse(article, reason, code) {
  article.classList.add("refused");
  const refusal = Object.assign(document.createElement("p"), { className: "refusal", textContent: reason });
  article.querySelector("footer").before(refusal);
  const ends = { 0: "No answer", 200: "The answer was ended here" };
  article.querySelector("footer").textContent = ends[code] ?? `Refused with status ${code}`;
}

async function answer(article) {
  const began = performance.now();
  const paragraph = article.querySelector("p"), footer = article.querySelector("footer");
  const response = await fetch("/chat", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ model: model.value, messages }),
    signal: running.signal,
  });
  if (!response.ok) throw new Error(await response.text());
  let first = 0, pieces = 0;
  for await (const line of lines(response)) {
    if (line.text !== undefined) {
      first ||= performance.now() - began;
      paragraph.textContent += line.text;
      article.dataset.pieces = ++pieces;
      scrollDown();
    } else if (line.refused !== undefined) {
      refuse(article, line.refused, line.status);
      return false;
    } else {
      if (line.model) article.querySelector("h2").textContent = line.model;
      const tokens = line.tokens ? `${line.tokens} tokens, the first after ${first.toFixed(0)} ms` : "";
      footer.textContent = (ENDS[line.done] ?? "") + tokens;
    }
  }
  messages.push({ role: "assistant", content: paragraph.textContent });
  return true;
}

async function ask(question) {
  messages.push({ role: "user", content: question });
  card("user", "You").querySelector("p").textContent = question;
  const article = card("model waiting", model.value);
  running = new AbortController();
  switchButtons(true);
  try {
    // What was refused is not asked again with the next question.
    if (!(await answer(article))) messages.pop();
  } catch (error) {
    messages.pop();
    if (error.name === "AbortError") article.querySelector("footer").textContent = "Stopped";
    else refuse(article, String(error.message ?? error), 0);
  } finally {
    article.classList.remove("waiting");
    switchButtons(false);
    scrollDown();
  }
}

function switchButtons(busy) {
  element("send").hidden = busy;
  element("stop").hidden = !busy;
  log.setAttribute("aria-busy", busy);
  if (!busy) text.focus();
}

element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = text.value.trim();
  if (!question || element("send").hidden) return;
  text.value = "";
  fit();
  ask(question);
});
text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  element("form").requestSubmit();
});
text.addEventListener("input", fit);
element("stop").addEventListener("click", () => running?.abort());
element("clear").addEventListener("click", () => {
  running?.abort();
  messages = [];
  log.replaceChildren();
  status.textContent = "";
  text.focus();
});

listModels().catch((error) => { status.textContent = `No list of models: ${error.message}`; });
text.focus();
