"""The page's `rows.js`: deltas as the server makes them, applied by the browser."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from msgspec.structs import asdict
from playwright.sync_api import Browser, Page

from entity_sync.core.delta import difference
from entity_sync.model import EntityKey
from tests.core.states import Rows, loaded
from tests.demo.pages import section

pytestmark = pytest.mark.needs("chromium")

OWN = EntityKey("lists", "mine")
APPLY = """async (cases) => {
    const { applied, named } = await import("/rows.js");
    return cases.map(({ own, rows, delta }) => {
        const before = named(own, rows);
        const kept = JSON.stringify(before);
        const after = applied(own, before, delta);
        if (JSON.stringify(before) !== kept) throw new Error("it changed what was held");
        return after;
    });
}"""
MISFITS = """async (cases) => {
    const { applied, named, Misfit } = await import("/rows.js");
    return cases.map(({ own, rows, delta }) => {
        try {
            return applied(own, named(own, rows), delta);
        } catch (error) {
            return error instanceof Misfit;
        }
    });
}"""

LOOKS = """async ([own, size, delta]) => {
    const { applied, named } = await import("/rows.js");
    const sent = Array.from({ length: size }, (_, id) => ({ entity: "orders", id: `${id}`, data: {} }));
    let looks = 0;
    const counted = named(own, sent).map((row) => new Proxy(row, {
        get(target, name) {
            looks += 1;
            return target[name];
        },
    }));
    applied(own, counted, delta);
    return looks;
}"""


@pytest.fixture
def page(browser: Browser, page_url: str, complaints: list[str]) -> Page:
    return section(browser, page_url, "orders", complaints)


def random_rows(random: Random) -> Rows:
    """Rows with keys of their own, and now and then the view's, in any order."""
    keys: list[EntityKey | None] = [EntityKey("orders", str(id)) for id in range(14)]
    keys += [None, EntityKey("users", "3")]
    names = [*"abcdef", "__proto__", "constructor"]

    def data() -> Any:
        if random.random() < 0.1:
            return random.choice([None, True, 7, "text"])
        return {name: random.choice([None, 1, "x" * 9]) for name in random.sample(names, random.randrange(9))}

    return [(key, data()) for key in random.sample(keys, random.randrange(len(keys) + 1))]


def wire(rows: Rows) -> list[dict[str, Any]]:
    return [{"data": data} | (asdict(key) if key is not None else {}) for key, data in rows]


def held(rows: Rows) -> list[dict[str, Any]]:
    """What a client then holds."""
    return [{**asdict(key or OWN), "data": data} for key, data in rows]


def case(rows: Rows, delta: Any) -> dict[str, Any]:
    return {"own": asdict(OWN), "rows": wire(rows), "delta": msgspec.to_builtins(delta)}


def test_deltas_give_the_servers_rows(page: Page):
    """Two thousand random pairs of states: what was held and the difference give the new rows in order."""
    random = Random(1)
    cases: list[dict[str, Any]] = []
    expected: list[Any] = []
    kinds = {"drop": 0, "patch": 0, "put": 0, "order": 0}
    for number in range(2_000):
        old = random_rows(random)
        new = random_rows(random) if number % 2 else random.sample(old, len(old))
        found = difference(loaded(old), loaded(new))
        assert found is not None
        delta = {name: part for name, part in found._asdict().items() if part}  # as on the wire
        for name in delta:
            kinds[name] += 1
        cases.append(case(old, msgspec.json.decode(msgspec.json.encode(delta))))
        expected.append(held(new))
    assert min(kinds.values()) > 50, kinds
    text = msgspec.json.encode(cases).decode()  # playwright's own arguments lose a member named __proto__
    answer = page.evaluate(f"async (text) => JSON.stringify(await ({APPLY})(JSON.parse(text)))", text)
    assert msgspec.json.decode(answer) == expected


def test_delta_of_other_rows_is_told(page: Page):
    """A delta that names what is not held, or patches what is no object, is a misfit and changes nothing."""
    key = {"entity": "orders", "id": "1"}
    rows: Rows = [(EntityKey("orders", "1"), "text"), (EntityKey("orders", "2"), {"a": 1})]
    deltas = [
        {"drop": [{"entity": "orders", "id": "3"}]},
        {"drop": [{}]},
        {"patch": [{"entity": "orders", "id": "3", "set": {"a": 2}}]},
        {"patch": [key | {"set": {"a": 2}}]},
        {"put": [{"entity": "orders", "id": "3", "data": 1, "at": 3}]},
        {"put": [{"entity": "orders", "id": "3", "data": 1, "at": -1}]},
        {"order": [key]},
        {"order": [key, key]},
        {"order": [key, {"entity": "orders", "id": "3"}]},
    ]
    assert page.evaluate(MISFITS, [case(rows, delta) for delta in deltas]) == [True] * len(deltas)


def test_each_row_is_looked_at_a_few_times(page: Page):
    """However many rows change, the work grows with rows and changes, not with their product."""
    size = 2_000
    keys = [{"entity": "orders", "id": str(id)} for id in range(size)]
    for delta in (
        {"drop": keys[size // 3 :]},
        {"patch": [key | {"set": {"a": 1}} for key in reversed(keys)]},
        {"put": [key | {"data": 1} for key in keys]},
        {
            "put": [
                {"entity": "users", "id": key["id"], "data": 1, "at": 2 * at} for at, key in enumerate(keys)
            ]
        },
        {"order": keys[::-1]},
    ):
        assert size <= page.evaluate(LOOKS, [asdict(OWN), size, delta]) <= 10 * size, delta.keys()
