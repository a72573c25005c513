// Reports, each with the row of its author: a change of that row alone brings the report anew.

import { Copy } from "/copy.js";
import { byId, doing, make, sqlite3, stamp, write } from "/dom.js";

export function report(client) {
  return {
    copies: [
      ...["1", "2", "3"].map((id) => new Copy("reports", id, article(id))),
      ...["1", "2"].map((id) => new Copy("users", id, author(client, id))),
    ],
    command: ({ database, notify }) => {
      const change = sqlite3(database, "UPDATE users SET name = 'Nadia Rahal' WHERE id = 1");
      return notify ? `${change} && ${notify} users 1` : change;
    },
  };
}

function article(id) {
  const element = stamp("report-card");
  element.dataset.testid = `report-${id}`;
  const [title, body, by, from, made] = ["h3", ".body", ".by", ".from", ".made"].map((selector) => element.querySelector(selector));
  byId("reports").append(element);

  return ({ data, rows, isGone, isStale }) => {
    element.classList.toggle("old", isStale);
    element.hidden = isGone;
    if (!data) return;
    const writer = rows.find(({ entity }) => entity === "users")?.data;
    write(title, data.title);
    write(body, data.body);
    write(by, writer?.name ?? "somebody who left");
    from.textContent = writer ? ` · ${writer.branch}` : "";
    made.replaceChildren(...rows.map(({ entity, id }) => make("code", {}, `${entity}/${id}`)));
  };
}

function author(client, id) {
  const element = stamp("author");
  const [label, input] = element.querySelectorAll("label, input");
  const [save, hint] = element.querySelectorAll("button, .hint");
  input.id = `author-${id}`;
  label.htmlFor = input.id;
  element.dataset.testid = input.id;
  byId("authors").append(element);
  let name = "";

  input.onkeydown = ({ key }) => {
    if (key === "Escape") input.value = name;
  };
  element.onsubmit = (event) => {
    event.preventDefault();
    doing(element, hint, client.request({ rename: { id: Number(id), name: input.value } }));
  };

  return ({ data }) => {
    const isTyping = document.activeElement === input && input.value !== name; // it is never overwritten
    name = data?.name ?? "";
    if (!isTyping) input.value = name;
    label.textContent = data ? `Author ${id}, ${data.branch}` : `Author ${id}`;
    save.disabled = input.disabled = !data;
  };
}
