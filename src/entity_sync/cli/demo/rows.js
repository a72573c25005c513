// The rows that one subscription holds, and what a delta makes of them: as PROTOCOL.md says, never in place.

// A delta that is not one of these rows: only the rows whole help.
export class Misfit extends Error {}

// Rows as the wire has them; a row that names no key is the view's own.
export function named(own, rows) {
  return rows.map((row) => ({ ...keyOf(own, row), data: row.data }));
}

// The rows after a delta, in one pass over them. It throws Misfit where it speaks of rows that are not held, or that
// are no objects.
export function applied(own, rows, { drop = [], patch = [], put = [], order = [] }) {
  const held = without(rows, drop.map((key) => textOf(keyOf(own, key))));
  const puts = put.map(({ data, at, ...key }) => ({ row: { ...keyOf(own, key), data }, at }));
  const places = placesOf(held, [...patch.map((one) => keyOf(own, one)), ...puts.map(({ row }) => row)]);
  for (const one of patch) {
    const place = found(places, keyOf(own, one));
    held[place] = { ...held[place], data: patched(held[place].data, one) };
  }
  for (const one of notReplaced(held, places, puts)) insert(held, one);
  return order.length ? ordered(held, order.map((key) => keyOf(own, key))) : held;
}

function without(rows, texts) {
  const gone = new Set(texts);
  const held = gone.size ? rows.filter((row) => !gone.has(textOf(row))) : [...rows];
  if (held.length !== rows.length - texts.length) throw new Misfit("rows to drop that are not held");
  return held;
}

// Where those of these keys stand that are held.
function placesOf(held, keys) {
  const ids = new Set(keys.map(({ id }) => id));
  const places = new Map();
  held.forEach((row, place) => ids.has(row.id) && places.set(textOf(row), place));
  return places;
}

function found(places, key) {
  const place = places.get(textOf(key));
  if (place === undefined) throw new Misfit(`${key.entity} ${key.id} is not held`);
  return place;
}

function patched(data, { set = {}, unset = [] }) {
  if (data === null || typeof data !== "object" || Array.isArray(data)) throw new Misfit("a patch of what is no object");
  const kept = Object.entries(data).filter(([name]) => !unset.includes(name));
  return { ...Object.fromEntries(kept), ...set };
}

// Replaces the rows that stay where they are, while their places are known; returns the other puts, in order.
function notReplaced(held, places, puts) {
  const moved = new Set();
  return puts.filter((one) => {
    const text = textOf(one.row);
    one.isHeld = places.has(text) || moved.has(text);
    const stays = one.at === undefined && places.has(text) && !moved.has(text);
    if (stays) held[places.get(text)] = one.row;
    else moved.add(text);
    return !stays;
  });
}

// A new row, or one that is held: with `at` that moves, else it stays where it is.
function insert(held, { row, at, isHeld }) {
  if (isHeld) {
    // few: where many rows move, a server sends their order
    const place = held.findIndex(({ entity, id }) => id === row.id && entity === row.entity);
    if (at === undefined) {
      held[place] = row;
      return;
    }
    held.splice(place, 1);
  }
  if (at !== undefined && (at < 0 || at > held.length)) throw new Misfit(`a row at ${at} among ${held.length}`);
  held.splice(at ?? held.length, 0, row);
}

function ordered(held, keys) {
  const rows = new Map(held.map((row) => [textOf(row), row]));
  const texts = new Set(keys.map(textOf));
  const isSame = keys.length === held.length && texts.size === held.length && [...texts].every((text) => rows.has(text));
  if (!isSame) throw new Misfit("an order of other rows");
  return keys.map((key) => rows.get(textOf(key)));
}

const keyOf = (own, { entity = own.entity, id = own.id }) => ({ entity, id });

// A key as a Map's: no two keys have one text.
const textOf = ({ entity, id }) => JSON.stringify([entity, id]);
