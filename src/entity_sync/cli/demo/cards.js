// Orders as cards: six keys, each a subscription of its own.

import { Copy } from "/copy.js";
import { button, byId, clock, doing, flash, sqlite3, stamp, STATUSES } from "/dom.js";

const ORDERS = ["1", "2", "3", "4", "5", "6"];

export function cards(client) {
  return {
    copies: ORDERS.map((id) => new Copy("orders", id, card(client, id))),
    command: ({ database, notify }) => {
      const change = sqlite3(database, "UPDATE orders SET quantity = quantity + 1 WHERE id = 3");
      return notify ? `${change} && ${notify} orders 3` : change;
    },
  };
}

function card(client, id) {
  const element = stamp("card");
  const [customer, title, quantity, statuses, note, hint, time] = [".customer", "h3", "output", ".statuses", "input", ".hint", "time"].map((selector) => element.querySelector(selector));
  const [less, more] = element.querySelectorAll(".quantity button");
  element.dataset.testid = `order-${id}`;
  quantity.dataset.testid = `order-${id}-quantity`;
  more.dataset.testid = `order-${id}-increase`;
  note.dataset.testid = `order-${id}-note`;
  quantity.parentElement.setAttribute("aria-label", `Quantity of order ${id}`);
  statuses.setAttribute("aria-label", `Status of order ${id}`);
  statuses.append(...STATUSES.map((status) => button(`chip ${status}`, status)));
  customer.textContent = `#${id}`;
  byId("cards").append(element);

  let shown = {};
  let isTyping = false; // a note that is not saved yet is never overwritten
  let stepped = { at: 0, value: 0 }; // the next click counts from the last one, not from what has come back

  const edit = (field, value, target) => doing(target, hint, client.request({ edit: { id: Number(id), field, value } }));

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

  return ({ data, isGone, isKnown, isStale, problem }) => {
    const before = shown;
    shown = data ?? {};
    element.classList.toggle("gone", isGone);
    element.classList.toggle("old", isStale);
    for (const control of element.querySelectorAll("button, input")) control.disabled = !data;
    customer.textContent = `#${id}${data ? ` · ${data.customer}` : ""}`;
    title.textContent = data ? data.item : isKnown ? "This order no longer exists" : "…";
    quantity.textContent = data ? data.quantity : "–";
    for (const chip of statuses.children) chip.setAttribute("aria-pressed", String(chip.textContent === shown.status));
    time.dateTime = shown.updated_at ?? "";
    time.textContent = data ? `changed ${clock(new Date(data.updated_at))}` : "";
    if (!isTyping) note.value = shown.note ?? "";
    if (before.updated_at !== shown.updated_at && !isTyping) hint.textContent = "";
    if (isGone) hint.textContent = "an INSERT brings it back";
    else if (data && before.note !== data.note && note.value !== data.note) hint.textContent = `elsewhere it became “${data.note}”`;
    if (problem) hint.textContent = problem;
    if (!before.id || !data) return;
    if (before.quantity !== data.quantity) flash(quantity);
    if (before.status !== data.status) flash(statuses);
    if (before.note !== data.note) flash(note);
  };
}
