// The board: a lane for each status is a live query, so orders come, move and leave by themselves.

import { Copy } from "/copy.js";
import { arrange, button, byId, doing, flash, make, sqlite3, STATUSES } from "/dom.js";

export function board(client) {
  let moved = null; // which ticket's button was pressed last, for the keyboard to go with it
  const form = byId("add");
  const hint = byId("board-hint");

  form.onsubmit = async (event) => {
    event.preventDefault();
    const { customer, item, quantity } = Object.fromEntries(new FormData(form));
    const wanted = { customer, item, quantity: Number(quantity) };
    if (!(await doing(form, hint, client.request({ add: wanted })))) return;
    form.reset();
    form.elements[0].focus();
  };

  function move(id, to, direction, target) {
    moved = { id, direction };
    doing(target, hint, client.request({ edit: { id: Number(id), field: "status", value: to } }));
  }

  // The keyboard's place is lost with the ticket that leaves: give it to the one that came.
  function follow(id, element) {
    const active = document.activeElement;
    if (moved?.id !== id || !(active === document.body || active.closest(".ticket")?.dataset.testid === `ticket-${id}`)) return;
    (element.querySelector(`.${moved.direction}:enabled`) ?? element.querySelector("button:enabled")).focus();
    moved = null;
  }

  return {
    copies: STATUSES.map((status) => new Copy("board", status, lane(status, move, follow))),
    command: ({ database, notify }) => {
      const insert = "INSERT INTO orders (customer, item, quantity) VALUES ('Cora', 'Plum cake', 2)";
      if (!notify) return sqlite3(database, insert);
      return `${notify} orders $(${sqlite3(database, `${insert}; SELECT last_insert_rowid()`)})`;
    },
  };
}

function lane(status, move, follow) {
  const count = make("span", { className: "count" });
  const list = make("ol");
  const empty = make("p", { className: "empty", textContent: "none" });
  const element = make("section", { className: `lane ${status}` }, make("h3", {}, status, count), list, empty);
  element.setAttribute("aria-label", status);
  element.dataset.testid = `lane-${status}`;
  byId("lanes").append(element);
  const tickets = new Map();
  let isFirst = true;

  return ({ rows, isKnown, isStale, isSure }) => {
    for (const { id, data, isNew, element, show } of arrange(list, tickets, rows, (id) => ticket(id, status, move))) {
      if (show(data) && !isFirst) flash(element);
      if (isNew) follow(id, element);
    }
    if (isKnown) isFirst = false;
    count.textContent = isKnown ? rows.length : "";
    empty.hidden = !isKnown || rows.length > 0;
    element.classList.toggle("old", isStale || (isKnown && !isSure));
  };
}

function ticket(id, status, move) {
  const place = STATUSES.indexOf(status);
  const [customer, item, quantity] = ["customer", "item", "amount"].map((className) => make("span", { className }));
  const element = make("li", { className: "ticket" });
  element.dataset.testid = `ticket-${id}`;
  const arrows = [["back", "‹", STATUSES[place - 1]], ["on", "›", STATUSES[place + 1]]].map(([direction, sign, to]) => {
    const arrow = button(`move ${direction}`, sign);
    arrow.disabled = to === undefined;
    arrow.onclick = () => move(id, to, direction, element);
    return { arrow, to };
  });
  element.append(customer, quantity, item, make("span", { className: "moves" }, ...arrows.map(({ arrow }) => arrow)));
  let shown = "";

  return {
    element,
    // Whether it differs from before
    show(data) {
      const before = shown;
      shown = JSON.stringify(data);
      if (before === shown) return false;
      customer.textContent = data.customer;
      item.textContent = data.item;
      quantity.textContent = `×${data.quantity}`;
      for (const { arrow, to } of arrows) arrow.setAttribute("aria-label", `Move ${data.customer}’s order ${id} to ${to ?? "nowhere"}`);
      return true;
    },
  };
}
