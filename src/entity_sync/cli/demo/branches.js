// Two users of two branches, each with a connection of its own: what one may see, the other may not.

import { Client } from "/client.js";
import { Copy } from "/copy.js";
import { arrange, button, byId, doing, flash, make, sqlite3, stamp, write } from "/dom.js";

const SECRETS = { "nadia@north": "Nadia, north", "sami@south": "Sami, south", "": "a guest", "guess@north": "a wrong secret" };

// log: what is told every frame, and whose it is.
export function branches(log) {
  const panels = [panel("left", "nadia@north", log), panel("right", "sami@south", log)];
  return {
    copies: [],
    enter: () => panels.forEach((client) => client.open()),
    leave: () => panels.forEach((client) => client.close()),
    command: ({ database, notify }) => {
      const change = sqlite3(database, "UPDATE cakes SET pieces = pieces + 1 WHERE id = 5");
      return notify ? `${change} && ${notify} cakes 5` : change;
    },
  };
}

function panel(side, secret, log) {
  const element = stamp("panel");
  const [who, pill, shelf, recipe, hint] = [".who", ".pill", ".shelf", ".recipe", ".hint"].map((selector) => element.querySelector(selector));
  element.dataset.testid = side;
  element.setAttribute("aria-label", `The ${side} user`);
  who.append(...Object.entries(SECRETS).map(([value, text]) => make("option", { value, textContent: text, selected: value === secret })));
  byId("panels").append(element);

  const login = () => who.value.split("@")[0];
  const client = new Client({
    secret,
    onState: (state, more = "") => {
      pill.dataset.state = state;
      pill.textContent = state + more;
    },
    onFrame: (direction, message, text) => log(direction, message, text, login() || "guest"),
  });
  client.watch([
    new Copy("shelf", "today", cakes(shelf, (id, target) => doing(target, hint, client.request({ sell: { id } })))),
    new Copy("recipes", "1", paper(recipe, login, (id, isShared, target) => doing(target, hint, client.request({ share: { id, is_shared: isShared } })))),
  ]);
  who.onchange = () => {
    hint.textContent = "";
    client.become(who.value || null);
  };
  return client;
}

function cakes(list, sell) {
  const shown = new Map();
  return ({ rows, isStale, isKnown, isDenied }) => {
    list.classList.toggle("old", isStale);
    for (const { data, name, pieces, one } of arrange(list, shown, rows, (id) => cake(Number(id), sell))) {
      name.textContent = data.name;
      write(pieces, data.pieces);
      one.disabled = data.pieces === 0;
      one.setAttribute("aria-label", `Sell a piece of ${data.name}`);
    }
    list.dataset.empty = isDenied ? "not for you" : isKnown ? "no shelf of yours" : "";
  };
}

function cake(id, sell) {
  const [name, pieces] = ["name", "pieces"].map((className) => make("span", { className }));
  const one = button("sell", "Sell one");
  const element = make("li", {}, name, pieces, one);
  element.dataset.testid = `cake-${id}`;
  one.onclick = () => sell(id, element);
  return { element, name, pieces, one };
}

function paper(element, login, share) {
  const [title, body, sharing, refusal] = ["h4", "p", ".switch", ".refusal"].map((selector) => element.querySelector(selector));
  let shown = null;
  sharing.onclick = () => share(shown.id, !shown.is_shared, sharing);

  return ({ data, isDenied, isStale }) => {
    const before = shown;
    shown = data ?? null;
    element.classList.toggle("denied", isDenied);
    element.classList.toggle("old", isStale);
    title.textContent = data?.title ?? "";
    body.textContent = data?.body ?? "";
    refusal.hidden = !isDenied;
    sharing.hidden = data?.owner !== login();
    sharing.setAttribute("aria-checked", String(Boolean(data?.is_shared)));
    if (data && !before) flash(element);
  };
}
