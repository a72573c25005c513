// The bakery's page: a small v2 client, six cards, and a log of every frame.

const ORDERS = ["1", "2", "3", "4", "5", "6"];
const LOG_LENGTH = 200;
const byId = (id) => document.getElementById(id);

// What is held: key → { version, view, data, gone, known, stale }

const copies = new Map();
const keyOf = ({ entity, id }) => `${entity}\n${id}`;
for (const id of ORDERS) copies.set(keyOf({ entity: "orders", id }), { entity: "orders", id, listener: card(id) });
copies.set(keyOf({ entity: "about", id: "demo" }), { entity: "about", id: "demo", listener: about() });

// The connection

let socket = null;
let staleAfter = 15_000;
let watchdog = 0;
let retryAfter = 0;
let attempts = 0;
let brokerStale = false;
let refs = 0;
const answers = new Map();

function open() {
  show("connecting");
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/entity-sync/`, "entity-sync.v2");
  socket.onopen = () => {
    attempts = 0;
    brokerStale = false;
    const body = [...copies.values()].map(({ entity, id, version }) => (version ? { entity, id, version } : { entity, id }));
    send({ action: "subscribe", ref: ++refs, body });
  };
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    log("down", message, data);
    alive();
    for (const one of Array.isArray(message) ? message : [message]) on[one.event]?.(one);
  };
  socket.onclose = lost;
}

function lost() {
  clearTimeout(watchdog);
  for (const answer of answers.values()) answer({ ok: false, text: "the connection ended; the edit may have arrived or not" });
  answers.clear();
  for (const copy of copies.values()) copy.view = undefined;
  const wait = retryAfter + Math.random() * Math.min(30_000, 500 * 2 ** attempts++);
  retryAfter = 0;
  countDown(navigator.onLine ? Date.now() + wait : Infinity);
}

let countdown = 0;
function countDown(until) {
  clearTimeout(countdown);
  const left = until - Date.now();
  if (left <= 0) return open();
  show(until === Infinity ? "offline" : "reconnecting", until === Infinity ? "" : ` in ${Math.ceil(left / 1000)} s`);
  if (until !== Infinity) countdown = setTimeout(countDown, Math.min(left, 250), until);
}
addEventListener("online", () => socket.readyState === WebSocket.CLOSED && countDown(0));
addEventListener("offline", () => socket.close());

function send(message) {
  const text = JSON.stringify(message);
  log("up", message, text);
  socket.send(text);
}

function alive() {
  clearTimeout(watchdog);
  watchdog = setTimeout(() => show("stale"), staleAfter);
  const stale = brokerStale || [...copies.values()].some((copy) => copy.stale);
  show(stale ? "stale" : "live");
}

function request(body) {
  return new Promise((resolve) => {
    if (socket.readyState !== WebSocket.OPEN) return resolve({ ok: false, text: "not connected" });
    answers.set(++refs, resolve);
    send({ action: "message", ref: refs, body });
  });
}

// What the server says; an event that is not listed here is ignored

function update(message, state) {
  const copy = copies.get(keyOf(message));
  if (!copy) return;
  Object.assign(copy, state);
  copy.listener(copy);
}

function concerned({ view, entity, id }) {
  return [...copies.values()].filter((copy) => (view !== undefined && copy.view === view) || (copy.entity === entity && copy.id === id));
}

const on = {
  welcome: ({ stale_ms }) => (staleAfter = stale_ms),
  goodbye: ({ retry_after_ms }) => (retryAfter = retry_after_ms),
  snapshot: (message) => {
    const { view, version, gone, rows } = message;
    update(message, { view, version, gone, data: rows[0]?.data, known: true });
  },
  current: (message) => {
    const { view, rev, version } = message;
    const copy = copies.get(keyOf(message));
    if (copy?.version === version) update(message, { view });
    else send({ action: "resync", body: { view, rev } });
  },
  delta: ({ view, rev }) => send({ action: "resync", body: { view, rev } }),
  denied: (message) => update(message, { version: undefined, data: undefined, gone: true, known: true }),
  stale: (message) => {
    if (!message.entity && message.view === undefined) brokerStale = true;
    for (const copy of concerned(message)) update(copy, { stale: true });
    alive();
  },
  fresh: (message) => {
    if (message.view === undefined) brokerStale = false;
    for (const copy of concerned(message)) update(copy, { stale: false });
    alive();
  },
  message: ({ ref, body }) => answer(ref, body),
  error: ({ ref, text }) => answer(ref, { ok: false, text }),
};

function answer(ref, body) {
  answers.get(ref)?.(body);
  answers.delete(ref);
}

// The cards

function card(id) {
  const element = byId("card").content.firstElementChild.cloneNode(true);
  const find = (selector) => element.querySelector(selector);
  const [quantity, note, hint, statuses] = ["output", "input", ".hint", ".statuses"].map(find);
  element.dataset.testid = `order-${id}`;
  quantity.dataset.testid = `order-${id}-quantity`;
  find(".more").dataset.testid = `order-${id}-increase`;
  note.dataset.testid = `order-${id}-note`;
  find(".number").textContent = `#${id}`;
  byId("orders").append(element);
  let shown = {};

  async function edit(field, value) {
    element.classList.add("pending");
    const { ok, text } = await request({ edit: { field, id: Number(id), value } });
    element.classList.remove("pending");
    hint.textContent = ok ? "" : text;
    if (!ok) note.value = shown.note ?? "";
  }
  find(".less").onclick = () => edit("quantity", shown.quantity - 1);
  find(".more").onclick = () => edit("quantity", shown.quantity + 1);
  note.onchange = () => note.value !== shown.note && edit("note", note.value);
  note.onblur = () => {
    hint.textContent = "";
    note.value = shown.note ?? "";
  };

  function flash(target) {
    target.classList.remove("changed");
    void target.offsetWidth; // restarts the animation
    target.classList.add("changed");
  }

  return ({ data, gone, known, stale }) => {
    const before = shown;
    shown = data ?? {};
    element.classList.toggle("gone", Boolean(gone));
    element.classList.toggle("old", Boolean(stale));
    for (const control of element.querySelectorAll("button, input")) control.disabled = !data;
    find("h3").textContent = data ? data.item : known ? "This order no longer exists" : "…";
    find(".customer").textContent = data ? `for ${data.customer}` : "";
    quantity.textContent = data ? data.quantity : "–";
    for (const chip of statuses.children) chip.setAttribute("aria-pressed", String(chip.textContent === shown.status));
    if (document.activeElement !== note) note.value = shown.note ?? "";
    else if (note.value !== shown.note && before.note !== shown.note) hint.textContent = `Elsewhere it became “${shown.note ?? ""}”`;
    if (!before.id || !data) return;
    if (before.quantity !== data.quantity) flash(quantity);
    if (before.status !== data.status) flash(statuses);
    if (before.note !== data.note) flash(note);
  };
}

function about() {
  return ({ data }) => {
    byId("command").textContent = `sqlite3 ${data.database} "UPDATE orders SET quantity = quantity + 1 WHERE id = 3"`;
    for (const id of ORDERS) {
      const element = document.querySelector(`[data-testid="order-${id}"]`);
      const chips = data.statuses.map((status) => Object.assign(document.createElement("button"), { type: "button", textContent: status }));
      for (const chip of chips) {
        chip.className = `chip ${chip.textContent}`;
        chip.onclick = () => request({ edit: { field: "status", id: Number(id), value: chip.textContent } });
      }
      element.querySelector(".statuses").replaceChildren(...chips);
      const copy = copies.get(keyOf({ entity: "orders", id }));
      copy.listener(copy);
    }
  };
}

byId("copy").onclick = async () => {
  await navigator.clipboard.writeText(byId("command").textContent);
  byId("copy").textContent = "Copied";
  setTimeout(() => (byId("copy").textContent = "Copy"), 1500);
};

// The connection's pill and the log of frames

function show(state, more = "") {
  const pill = byId("connection");
  if (pill.textContent !== state + more) pill.textContent = state + more;
  pill.dataset.state = state;
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
  const entry = document.createElement("li");
  entry.className = direction;
  const name = direction === "up" ? message.action : (message.event ?? "batch");
  const parts = {
    time: new Date().toTimeString().slice(0, 8),
    arrow: direction === "up" ? "›" : "‹",
    name,
    size: `${size} B`,
    body: pretty(message),
  };
  for (const [kind, content] of Object.entries(parts)) {
    const part = Object.assign(document.createElement("span"), { className: kind, textContent: content });
    if (kind === "name") part.classList.add(`event-${name}`);
    entry.append(part);
  }
  byId("log").prepend(entry);
  while (byId("log").children.length > LOG_LENGTH) byId("log").lastChild.remove();
}

function pretty(message) {
  return JSON.stringify(message, null, 1).replace(/\n\s*/g, " ").replace(/\{ /g, "{").replace(/ \}/g, "}").replace(/\[ /g, "[").replace(/ \]/g, "]");
}

byId("pause").onclick = ({ currentTarget }) => {
  isPaused = !isPaused;
  currentTarget.setAttribute("aria-pressed", String(isPaused));
  currentTarget.textContent = isPaused ? "Resume" : "Pause";
};
byId("clear").onclick = () => byId("log").replaceChildren();

open();
