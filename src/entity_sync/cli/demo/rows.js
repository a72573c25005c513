// The rows that one subscription holds, and what a delta makes of them: as PROTOCOL.md says, never in place.

// A delta that is not one of these rows: only the rows whole help.
export class Misfit extends Error {}

// Rows as the wire has them; a row that names no key is the view's own.
export function named(own, rows) {
  return rows.map((row) => ({ ...keyOf(own, row), data: row.data }));
}

// The rows after a delta. It throws Misfit where it speaks of rows that are not held, or that are no objects.
export function applied(own, rows, { drop = [], patch = [], put = [], order = [] }) {
  const held = [...rows];
  for (const key of drop) held.splice(placeOf(held, keyOf(own, key)), 1);
  for (const one of patch) {
    const place = placeOf(held, keyOf(own, one));
    held[place] = { ...held[place], data: patched(held[place].data, one) };
  }
  for (const one of put) insert(held, { ...keyOf(own, one), data: one.data }, one.at);
  return order.length ? ordered(held, order.map((key) => keyOf(own, key))) : held;
}

function patched(data, { set = {}, unset = [] }) {
  if (data === null || typeof data !== "object" || Array.isArray(data)) throw new Misfit("a patch of what is no object");
  const kept = Object.entries(data).filter(([name]) => !unset.includes(name));
  return { ...Object.fromEntries(kept), ...set };
}

// A new row, or one that is held: with `at` that moves, else it stays where it is.
function insert(held, row, at) {
  const place = held.findIndex((other) => isSame(other, row));
  if (place >= 0 && at === undefined) {
    held[place] = row;
    return;
  }
  if (place >= 0) held.splice(place, 1);
  if (at !== undefined && (at < 0 || at > held.length)) throw new Misfit(`a row at ${at} among ${held.length}`);
  held.splice(at ?? held.length, 0, row);
}

function ordered(held, keys) {
  const places = keys.map((key) => placeOf(held, key));
  if (new Set(places).size !== held.length || keys.length !== held.length) throw new Misfit("an order of other rows");
  return places.map((place) => held[place]);
}

function placeOf(held, key) {
  const place = held.findIndex((row) => isSame(row, key));
  if (place < 0) throw new Misfit(`${key.entity} ${key.id} is not held`);
  return place;
}

const isSame = (one, other) => one.entity === other.entity && one.id === other.id;

const keyOf = (own, { entity = own.entity, id = own.id }) => ({ entity, id });
