// The bakery's page: its sections, of which one is shown and watched, and the page's own connection.

import { board } from "/board.js";
import { branches } from "/branches.js";
import { cards } from "/cards.js";
import { Client } from "/client.js";
import { Copy } from "/copy.js";
import { byId } from "/dom.js";
import { report } from "/report.js";
import { watching } from "/watching.js";
import { log } from "/wire.js";

const client = new Client({ onState: tell, onFrame: log });
const sections = { orders: cards(client), board: board(client), report: report(client), branches: branches(log) };
const sides = { wire: { copies: [] }, watching: watching() };
const about = new Copy("about", "demo", introduce);
let section = null;
let side = "wire";

// The sections: what is not shown is not watched

function enter(name) {
  if (section === name) return;
  if (section) {
    client.unwatch(sections[section].copies);
    sections[section].leave?.();
  }
  section = name;
  for (const each of Object.keys(sections)) byId(each).hidden = each !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  byId("second").href = `/#${name}`;
  client.watch(sections[name].copies);
  sections[name].enter?.();
  introduce(about);
}

function route() {
  const name = location.hash.slice(1);
  enter(Object.hasOwn(sections, name) ? name : "orders");
}

for (const tab of document.querySelectorAll("[data-side]"))
  tab.onclick = () => {
    if (side === tab.dataset.side) return;
    client.unwatch(sides[side].copies);
    side = tab.dataset.side;
    client.watch(sides[side].copies);
    for (const each of document.querySelectorAll("[data-side]")) {
      each.setAttribute("aria-pressed", String(each === tab));
      byId(each.dataset.side).hidden = each !== tab;
    }
  };

// What the node says of itself

function introduce({ data }) {
  if (!data) return;
  byId("command").textContent = sections[section].command(data);
  if (!data.node) return;
  document.querySelector("h1").textContent = `The bakery · ${data.node}`;
  byId("subtitle").textContent = `The nodes share one SQLite file, and tell one another over ${data.broker} what changed.`;
  document.title = `${data.node} · the bakery`;
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

// The state of the page's own connection

function tell(state, more = "") {
  const pill = byId("connection");
  if (pill.textContent !== state + more) pill.textContent = state + more;
  if (pill.dataset.state === state) return;
  pill.dataset.state = state;
  byId("spoken").textContent = state; // once, not at every second of the countdown
  document.body.classList.toggle("old", state !== "live");
}

addEventListener("hashchange", route);
client.watch([about]);
route();
client.open();
