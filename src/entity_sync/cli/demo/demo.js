// The bakery's page: a small v2 client, six cards, and a log of every frame.

const ORDERS = ["1", "2", "3", "4", "5", "6"];
const LOG_LENGTH = 200;
const LONGEST_WAIT = 30_000;
const byId = (id) => document.getElementById(id);

// What is held, by key: { entity, id, render, version, view, data, gone, known, stale }

const copies = new Map();
const keyOf = ({ entity, id }) => `${entity}\n${id}`;
for (const id of ORDERS) copies.set(keyOf({ entity: "orders", id }), { entity: "orders", id, render: card(id) });
copies.set(keyOf({ entity: "about", id: "demo" }), { entity: "about", id: "demo", render: about });

// The connection

let socket = null;
let silence = 15_000;
let watchdog = 0;
let countdown = 0;
let retryAfter = 0;
let attempts = 0;
let brokerStale = false;
let refs = 0;
const answers = new Map();

function open() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const opened = new WebSocket(`${scheme}://${location.host}/ws/entity-sync/`, "entity-sync.v2");
  socket = opened;
  show("connecting");
  watch();
  opened.onopen = () => {
    const body = [...copies.values()].map(({ entity, id, version }) => ({ entity, id, version })); // JSON omits undefined
    send({ action: "subscribe", ref: ++refs, body });
  };
  opened.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    log("down", message, data);
    for (const one of [message].flat()) if (Object.hasOwn(on, one.event)) on[one.event](one);
    watch();
    const isStale = brokerStale || [...copies.values()].some((copy) => copy.stale);
    show(isStale ? "stale" : "live");
  };
  opened.onclose = lost;
}

// No frame for this long: what is shown may be old. For twice as long: nobody is there.
function watch() {
  clearTimeout(watchdog);
  watchdog = setTimeout(() => {
    show("stale");
    watchdog = setTimeout(lost, silence);
  }, silence);
}

function lost() {
  clearTimeout(watchdog);
  socket.onopen = socket.onmessage = socket.onclose = null; // a dead link can take minutes to close
  socket.close();
  socket = null;
  brokerStale = false;
  for (const copy of copies.values()) copy.view = copy.stale = undefined; // the next server says it again
  for (const ref of [...answers.keys()]) answer(ref, { ok: false, text: "the connection broke: perhaps not saved" });
  const wait = retryAfter + Math.random() * Math.min(LONGEST_WAIT, 500 * 2 ** attempts++);
  retryAfter = 0;
  retry(Date.now() + wait);
}

function retry(at) {
  clearTimeout(countdown);
  const left = at - Date.now();
  if (left <= 0) return open();
  if (navigator.onLine) show("reconnecting", ` in ${Math.ceil(left / 1000)} s`);
  else show("offline"); // and still try: a server on this machine is there without a network
  countdown = setTimeout(retry, Math.min(left, 250), at);
}
addEventListener("online", () => socket ?? retry(0));
addEventListener("offline", () => {
  if (socket?.readyState !== WebSocket.OPEN) return;
  send({ action: "ping" });
  clearTimeout(watchdog);
  watchdog = setTimeout(lost, 2000);
});

function send(message) {
  const text = JSON.stringify(message);
  log("up", message, text);
  socket.send(text);
}

function request(body) {
  return new Promise((resolve) => {
    if (socket?.readyState !== WebSocket.OPEN) return resolve({ ok: false, text: "not connected: not saved" });
    answers.set(++refs, resolve);
    send({ action: "message", ref: refs, body });
  });
}

function answer(ref, body) {
  answers.get(ref)?.(body);
  answers.delete(ref);
}

// What the server says; an event that is not listed here is ignored

function update(key, state) {
  const copy = copies.get(keyOf(key));
  if (copy) copy.render(Object.assign(copy, state));
}

function mark({ view, entity, id }, stale) {
  if (view === undefined && entity === undefined) brokerStale = stale;
  for (const copy of copies.values())
    if ((view !== undefined && copy.view === view) || (copy.entity === entity && copy.id === id)) update(copy, { stale });
}

const on = {
  welcome: ({ stale_ms }) => (silence = stale_ms),
  delta: ({ view }) => send({ action: "resync", body: { view, rev: 0 } }), // of long rows; this page wants them whole
  goodbye: ({ retry_after_ms }) => (retryAfter = retry_after_ms),
  ack: ({ failed = [] }) => {
    attempts = 0;
    for (const { entity, id, text } of failed) update({ entity, id }, { problem: text });
  },
  snapshot: ({ entity, id, view, version, gone, rows }) => update({ entity, id }, { view, version, gone, data: rows[0]?.data, known: true, problem: "" }),
  current: ({ entity, id, view, rev, version }) => {
    update({ entity, id }, { view, problem: "" });
    if (copies.get(keyOf({ entity, id }))?.version !== version) send({ action: "resync", body: { view, rev } });
  },
  delta: ({ view, rev }) => send({ action: "resync", body: { view, rev } }),
  denied: ({ entity, id }) => update({ entity, id }, { version: undefined, data: undefined, gone: false, known: true, problem: "not for you" }),
  stale: (message) => mark(message, true),
  fresh: (message) => mark(message, false),
  message: ({ ref, body }) => answer(ref, body),
  error: ({ ref, entity, id, text }) => {
    answer(ref, { ok: false, text });
    if (entity !== undefined) update({ entity, id }, { problem: text });
  },
};

// The cards

function card(id) {
  const element = byId("card").content.firstElementChild.cloneNode(true);
  const [customer, title, quantity, statuses, note, hint, time] = [".customer", "h3", "output", ".statuses", "input", ".hint", "time"].map((selector) => element.querySelector(selector));
  const [less, more] = element.querySelectorAll(".quantity button");
  element.dataset.testid = `order-${id}`;
  quantity.dataset.testid = `order-${id}-quantity`;
  more.dataset.testid = `order-${id}-increase`;
  note.dataset.testid = `order-${id}-note`;
  quantity.parentElement.setAttribute("aria-label", `Quantity of order ${id}`);
  statuses.setAttribute("aria-label", `Status of order ${id}`);
  customer.textContent = `#${id}`;
  byId("orders").append(element);

  let shown = {};
  let isTyping = false; // a note that is not saved yet is never overwritten
  let stepped = { at: 0, value: 0 }; // the next click counts from the last one, not from what has come back

  async function edit(field, value, target) {
    hint.textContent = "";
    target.classList.add("pending");
    const { ok, text } = await request({ edit: { id: Number(id), field, value } });
    target.classList.remove("pending");
    hint.textContent = ok ? "" : text;
    return ok;
  }

  async function step(by) {
    stepped = { at: Date.now(), value: (Date.now() - stepped.at < 1000 ? stepped.value : shown.quantity) + by };
    if (!(await edit("quantity", stepped.value, quantity))) stepped.at = 0;
  }
  less.onclick = () => step(-1);
  more.onclick = () => step(1);

  function discard() {
    isTyping = false;
    hint.textContent = "";
    note.value = shown.note ?? "";
  }
  async function save() {
    const value = note.value;
    if (!isTyping || note.classList.contains("pending")) return;
    if (value === shown.note) discard();
    else if ((await edit("note", value, note)) && note.value === value) isTyping = false;
  }
  note.oninput = () => (isTyping = true);
  note.onblur = save;
  note.onkeydown = ({ key }) => {
    if (key === "Enter") save();
    if (key === "Escape") discard();
  };
  statuses.onclick = ({ target }) => {
    if (target.matches(".chip")) edit("status", target.textContent, statuses);
  };

  return ({ data, gone, known, stale, problem }) => {
    const before = shown;
    shown = data ?? {};
    element.classList.toggle("gone", Boolean(gone));
    element.classList.toggle("old", Boolean(stale));
    for (const control of element.querySelectorAll("button, input")) control.disabled = !data;
    customer.textContent = `#${id}${data ? ` · ${data.customer}` : ""}`;
    title.textContent = data ? data.item : known ? "This order no longer exists" : "…";
    quantity.textContent = data ? data.quantity : "–";
    for (const chip of statuses.children) chip.setAttribute("aria-pressed", String(chip.textContent === shown.status));
    time.dateTime = shown.updated_at ?? "";
    time.textContent = data ? `changed ${clock(new Date(data.updated_at))}` : "";
    if (!isTyping) note.value = shown.note ?? "";
    if (before.updated_at !== shown.updated_at && !isTyping) hint.textContent = "";
    if (gone) hint.textContent = "an INSERT brings it back";
    else if (data && before.note !== data.note && note.value !== data.note) hint.textContent = `elsewhere it became “${data.note}”`;
    if (problem) hint.textContent = problem;
    if (!before.id || !data) return;
    if (before.quantity !== data.quantity) flash(quantity);
    if (before.status !== data.status) flash(statuses);
    if (before.note !== data.note) flash(note);
  };
}

function flash(target) {
  target.classList.remove("changed");
  void target.offsetWidth; // restarts the animation
  target.classList.add("changed");
}

const clock = (date) => (Number.isNaN(date.getTime()) ? "" : date.toTimeString().slice(0, 8));

const quoted = (text) => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

function about({ data }) {
  if (!data) return;
  const change = `sqlite3 ${quoted(data.database)} "UPDATE orders SET quantity = quantity + 1 WHERE id = 3"`;
  byId("command").textContent = data.notify ? `${change} && ${data.notify}` : change;
  if (data.node) {
    document.querySelector("h1").textContent = `The bakery · ${data.node}`;
    byId("subtitle").textContent = `The nodes share one SQLite file, and tell one another over ${data.broker} what changed.`;
    document.title = `${data.node} · the bakery`;
  }
  for (const statuses of document.querySelectorAll(".statuses"))
    statuses.replaceChildren(...data.statuses.map((status) => {
      const chip = document.createElement("button");
      return Object.assign(chip, { type: "button", className: `chip ${status}`, textContent: status });
    }));
  for (const id of ORDERS) update({ entity: "orders", id }, {});
}

byId("copy").onclick = async ({ currentTarget }) => {
  try {
    await navigator.clipboard.writeText(byId("command").textContent);
    currentTarget.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(byId("command")); // no clipboard without HTTPS
    currentTarget.textContent = "Selected";
  }
  setTimeout(() => (byId("copy").textContent = "Copy"), 1500);
};

// The connection's state, and the log of frames

function show(state, more = "") {
  const pill = byId("connection");
  if (pill.textContent !== state + more) pill.textContent = state + more;
  if (pill.dataset.state === state) return;
  pill.dataset.state = state;
  byId("spoken").textContent = state; // once, not at every second of the countdown
  document.body.classList.toggle("old", state !== "live");
}

const counts = { up: 0, down: 0, bytes: 0 };
let isPaused = false;

function log(direction, message, text) {
  const size = new TextEncoder().encode(text).length;
  counts[direction] += 1;
  counts.bytes += size;
  byId("counts").textContent = `${counts.up} up · ${counts.down} down · ${counts.bytes.toLocaleString("en")} bytes`;
  if (isPaused) return;
  const name = [message].flat().map((one) => one.action ?? one.event).join(" ");
  const entry = span("li", direction, "");
  const body = span("span", "body", "");
  body.append(...tokens(message));
  const arrow = direction === "up" ? "›" : "‹";
  entry.append(span("span", "arrow", arrow), span("span", `name event-${name}`, name), span("span", "size", `${size} B`), span("span", "time", clock(new Date())), body);
  byId("log").prepend(entry);
  while (byId("log").children.length > LOG_LENGTH) byId("log").lastChild.remove();
}

const span = (tag, className, textContent) => Object.assign(document.createElement(tag), { className, textContent });

// JSON with a space after commas and colons, its words coloured
function tokens(message) {
  const words = JSON.stringify(message).match(/"(?:[^"\\]|\\.)*":?|[{}[\]]+|,|[^"{}[\],]+/g);
  return words.map((word) => {
    if (/^[{}[\],]/.test(word)) return word === "," ? ", " : word;
    return word.endsWith('":') ? span("span", "key", `${word} `) : span("span", word[0] === '"' ? "string" : "value", word);
  });
}

byId("pause").onclick = ({ currentTarget }) => {
  isPaused = !isPaused;
  currentTarget.setAttribute("aria-pressed", String(isPaused));
};
byId("clear").onclick = () => byId("log").replaceChildren();

open();
