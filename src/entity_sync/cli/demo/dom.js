// What every section does with the document. Text goes in as text, never as HTML.

export const STATUSES = ["ordered", "baking", "ready", "sold"];

export const byId = (id) => document.getElementById(id);

// A new element: make("p", { className: "hint" }, "text", anotherElement)
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// A copy of a template's only element
export const stamp = (id) => byId(id).content.firstElementChild.cloneNode(true);

// A button that nothing submits
export const button = (className, text, label) => {
  const element = make("button", { type: "button", className }, text);
  if (label) element.setAttribute("aria-label", label);
  return element;
};

export function flash(target) {
  target.classList.remove("changed");
  void target.offsetWidth; // restarts the animation
  target.classList.add("changed");
}

// Write a text, and say so where it is another than before
export function write(target, text) {
  const before = target.textContent;
  if (before === String(text)) return;
  target.textContent = text;
  if (before) flash(target);
}

// One element for each row, in the rows' order. What is in its place is not touched: it may have the focus.
// shown: id → what create(id) made, with an `element`.
export function arrange(list, shown, rows, create) {
  for (const [id, { element }] of shown)
    if (!rows.some((row) => row.id === id)) {
      element.remove();
      shown.delete(id);
    }
  return rows.map(({ id, data }, place) => {
    const isNew = !shown.has(id);
    if (isNew) shown.set(id, create(id));
    const one = shown.get(id);
    if (list.children[place] !== one.element) list.insertBefore(one.element, list.children[place] ?? null);
    return { ...one, id, data, isNew };
  });
}

// Show that something is being done, and why it was not, if so
export async function doing(target, hint, answer) {
  hint.textContent = "";
  target.classList.add("pending");
  const { ok, text } = await answer;
  target.classList.remove("pending");
  hint.textContent = ok ? "" : text;
  return ok;
}

export const clock = (date) => (Number.isNaN(date.getTime()) ? "" : date.toTimeString().slice(0, 8));

const quoted = (text) => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

export const sqlite3 = (database, statement) => `sqlite3 ${quoted(database)} "${statement}"`;
