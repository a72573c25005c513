// Who watches what on the server's node: a live query over its views.

import { Copy } from "/copy.js";
import { arrange, byId, make, write } from "/dom.js";

const NUMBER = new Intl.NumberFormat("en");

export function watching() {
  const body = byId("views").tBodies[0];
  const shown = new Map();

  const show = ({ data, rows, isStale }) => {
    const views = rows.filter((row) => row.id !== "here");
    byId("views-total").textContent = data ? `${data.views} views, ${data.subscribers} subscriptions on this node` : "";
    byId("watching").classList.toggle("old", isStale);
    for (const { data, show } of arrange(body, shown, views, line)) show(data);
  };
  return { copies: [new Copy("views", "here", show)] };
}

function line() {
  const entity = make("span", { className: "entity" });
  const id = make("span", { className: "id" });
  const [audience, subscribers, rev, size, state] = Array.from({ length: 5 }, () => make("td"));
  const element = make("tr", {}, make("th", { scope: "row" }, entity, "/", id), audience, subscribers, rev, size, state);

  return {
    element,
    show(info) {
      element.dataset.testid = `view-${info.entity}-${info.id}`;
      entity.textContent = info.entity;
      id.textContent = info.id;
      audience.textContent = info.audience;
      write(subscribers, info.subscribers);
      write(rev, info.rev);
      write(size, NUMBER.format(info.size));
      state.textContent = info.is_stale ? "fails" : info.is_loading ? "loads" : "ready";
      state.className = state.textContent;
    },
  };
}
