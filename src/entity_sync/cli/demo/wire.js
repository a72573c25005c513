// The wire: every frame of every connection of this page, the newest first.

import { byId, clock, make } from "/dom.js";

const LOG_LENGTH = 200;
const counts = { up: 0, down: 0, bytes: 0 };
let isPaused = false;

// who: whose connection it is, where that is not the page's own.
export function log(direction, message, text, who = "") {
  const size = new TextEncoder().encode(text).length;
  counts[direction] += 1;
  counts.bytes += size;
  byId("counts").textContent = `${counts.up} up · ${counts.down} down · ${counts.bytes.toLocaleString("en")} bytes`;
  if (isPaused) return;
  const name = [message].flat().map((one) => one.action ?? one.event).join(" ");
  const head = make("span", { className: `name event-${name}` }, name);
  if (who) head.append(make("span", { className: "whose" }, who));
  const entry = make(
    "li",
    { className: direction },
    make("span", { className: "arrow" }, direction === "up" ? "›" : "‹"),
    head,
    make("span", { className: "size" }, `${size} B`),
    make("span", { className: "time" }, clock(new Date())),
    make("span", { className: "body" }, ...tokens(message)),
  );
  byId("log").prepend(entry);
  while (byId("log").children.length > LOG_LENGTH) byId("log").lastChild.remove();
}

// JSON with a space after commas and colons, its words coloured
function tokens(message) {
  const words = JSON.stringify(message).match(/"(?:[^"\\]|\\.)*":?|[{}[\]]+|,|[^"{}[\],]+/g);
  return words.map((word) => {
    if (/^[{}[\],]/.test(word)) return word === "," ? ", " : word;
    if (word.endsWith('":')) return make("span", { className: "key" }, `${word} `);
    return make("span", { className: word[0] === '"' ? "string" : "value" }, word);
  });
}

byId("pause").onclick = ({ currentTarget }) => {
  isPaused = !isPaused;
  currentTarget.setAttribute("aria-pressed", String(isPaused));
};
byId("clear").onclick = () => byId("log").replaceChildren();
