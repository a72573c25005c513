"""Several rows of one load: what a loader may return and yield, and how its rows get their keys."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import count
from typing import Any, NamedTuple

import pytest

from entity_sync import AccessDenied, EntityKey, EntitySync, Reads, Row
from entity_sync.core.loaded import Loaded
from entity_sync.core.tags import Reading
from entity_sync.errors import ConfigurationError, LoadFailed
from entity_sync.loading.catalog import Catalog
from entity_sync.loading.loader import Loader
from entity_sync.loading.rows import RowsOf

REPORT = {"title": "Bread"}
MOST = 1000


class Pair(NamedTuple):
    x: int
    y: int


class Odd(Enum):
    USERS = "users"


@dataclass
class Order:
    id: int
    customer: int = 7


async def load(function: Callable[..., Any], rows: RowsOf | None = None, **options: Any) -> Loaded:
    async def users(id: int) -> None: ...

    catalog = Catalog()
    options |= {"per": None, "public": True, "timeout": 1.0}
    catalog.add(Loader.of("reports", function, rows=rows, **options))
    catalog.add(Loader.of("users", users, per=None, public=True, timeout=1.0))
    loader = catalog["reports"]

    async def in_thread(_entity: str, function: Any, *arguments: object) -> Any:
        return await asyncio.to_thread(function, *arguments)

    return await loader.load(EntityKey("reports", "1"), (), in_thread, catalog.row, most=MOST)


def keys(loaded: Loaded) -> list[tuple[str, str] | None]:
    return [None if row.key is None else (row.key.entity, row.key.id) for row in loaded.rows]


async def yields(_id: str) -> AsyncIterator[object]:
    yield REPORT
    yield Row("users", 9, {"name": "Ada"})
    yield Reads("orders", customer=7)


def generates(_id: str) -> Iterator[object]:
    yield REPORT
    yield Row("users", 9, {"name": "Ada"})
    yield Reads("orders", customer=7)


async def lists(_id: str) -> list[object]:
    return [REPORT, Row("users", 9, {"name": "Ada"}), Reads("orders", customer=7)]


def returns_a_generator(_id: str) -> AsyncIterator[object]:
    return yields(_id)


class Callable_:  # noqa: N801 - an object, not a function
    async def __call__(self, _id: str) -> AsyncIterator[object]:
        async for element in yields(_id):
            yield element


@pytest.mark.parametrize("function", [yields, generates, lists, returns_a_generator, Callable_()])
async def test_a_report_with_its_author(function: Callable[..., Any]):
    """The un-keyed row is the view's own; the author is a dependency, and so is what was read."""
    found = await load(function)
    assert keys(found) == [None, ("users", "9")]
    assert [row.data for row in found.rows] == [b'{"title":"Bread"}', b'{"name":"Ada"}']
    assert found.dependencies == {EntityKey("users", "9")}
    assert found.reads == (Reading("orders", (("customer", frozenset({"7"})),)),)
    assert not found.gone


async def test_rows_by_handle():
    """What registering an entity gave names it as well as its name does."""

    @EntitySync().entity("users")
    async def users(id: int) -> None: ...

    found = await load(lambda _id: [Row(users, 9, {}), Reads(users, team=1)])
    assert keys(found) == [("users", "9")]
    assert found.reads == (Reading("users", (("team", frozenset({"1"})),)),)
    assert (Row(users, 9, {}), repr(Reads(users))) == (Row("users", 9, {}), "Reads('users')")


async def test_a_row_that_is_not_there():
    """Row(…, None): nothing is shown of it, and the view depends on its key, so it is noticed if it comes."""
    report = Row("users", 9, None), Row("users", 8, None, track=False), REPORT
    found = await load(lambda _id: report)
    assert keys(found) == [None]
    assert found.dependencies == {EntityKey("users", "9")}
    assert found.version == (await load(lambda _id: REPORT)).version
    alone = await load(lambda _id: Row("users", 9, None))
    assert not alone.rows
    assert not alone.gone
    assert alone.dependencies == {EntityKey("users", "9")}
    assert (await load(lambda _id: Row("reports", "1", None))).gone


@pytest.mark.parametrize("rows", [None, RowsOf("users", "id")])
async def test_an_iterator_is_no_list(rows: RowsOf | None):
    """A lazy iterator is refused with what to write, not taken for one value."""
    with pytest.raises(LoadFailed, match=r"an iterator \(map\) was returned: return a list of it, or yield"):
        await load(lambda _id: map(Order, [1]), rows)


async def test_untracked_rows():
    """track=False: the row is shown, and its changes concern nobody."""
    found = await load(lambda _id: [Row("users", 9, {}, track=False)])
    assert keys(found) == [("users", "9")]
    assert found.dependencies == frozenset()


@pytest.mark.parametrize(
    ("element", "id"),
    [(Order(5), "id"), ({"id": 5}, "id"), ({"nr": 5}, lambda element: element["nr"])],
)
async def test_rows_of_an_entity(element: object, id: Any):
    """With rows= each element is a row of that entity, wherever its id is."""
    found = await load(lambda _id: [element], RowsOf("users", id))
    assert keys(found) == [("users", "5")]


@pytest.mark.parametrize(
    ("value", "revision"),
    [
        ([Row("users", 9, {"n": 5}), {"id": "1", "n": 6}, Reads("orders")], 6),
        ([{"id": "2", "n": 5}, {"id": "1", "n": 6}], 6),
        ([{"id": "2", "n": 5}, Row("reports", "1", {"n": 7})], 7),
        ([{"id": "2", "n": 5}], None),
        ([], None),
        (None, None),
    ],
)
async def test_the_revision_is_that_of_the_own_row(value: object, revision: int | None):
    """An element with another key is no value of the view's own, so its revision says nothing of the view."""
    loaded = await load(lambda _id: value, RowsOf("reports", lambda one: one["id"]), revision="n")
    assert loaded.revision == revision


def test_a_revision_of_rows_of_another_entity():
    """Elements that are all of another entity have no revision of the view's: refused at registration."""
    with pytest.raises(ConfigurationError, match="'list': revision= is that of the view's own value"):
        EntitySync().entity("list", rows=("orders", "id"), revision="n")(yields)


async def test_rows_without_an_id():
    """An element that has no such member names the entity it should have been one of."""
    with pytest.raises(LoadFailed, match=r"element of rows='users' has no id: KeyError"):
        await load(lambda _id: [{}], RowsOf("users", "id"))


async def empty_generator(_id: str) -> AsyncIterator[object]:
    for element in list[object]():
        yield element


async def gone_generator(_id: str) -> AsyncIterator[object]:
    yield Reads("orders")
    yield None


@pytest.mark.parametrize(
    ("function", "is_gone"),
    [
        (lambda _id: None, True),
        (lambda _id: [], False),
        (lambda _id: (), False),
        (empty_generator, False),
        (gone_generator, True),
    ],
)
async def test_gone_and_empty(function: Callable[..., Any], is_gone: bool):
    """None says that there is no such key; no rows say that it has none."""
    found = await load(function)
    assert (found.gone, found.rows) == (is_gone, ())


async def denied_generator(_id: str) -> AsyncIterator[object]:
    yield REPORT
    raise AccessDenied


async def test_denied_half_way():
    """AccessDenied raised after some rows is gone all the same, and shows none of them."""
    found = await load(denied_generator)
    assert (found.gone, found.denied) == (True, True)
    assert found.rows == ()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            [Row("users", 9, 1), Row("users", "9", 2)],
            "two rows have the key users/'9': yield a row once, also",
        ),
        ([REPORT, REPORT], r"two rows have the key reports/'1', as those without .* declare rows="),
        (Pair(1, 2), r"a Pair is a tuple, without names in JSON: return its _asdict\(\)"),
        ([Pair(1, 2)], r"a Pair is a tuple, without names in JSON: return its _asdict\(\)"),
        ([REPORT, Row("reports", "1", REPORT)], "two rows have the key reports/'1'"),
        ([REPORT, None], "element 1 is None: leave out what does not exist"),
        ([Row("users", "0100", 1)], "bad id for 'users'"),
        ([Row("users", " 100", 1)], "bad id for 'users'"),
        ([Row("users", "१००", 1)], "bad id for 'users'"),
        ([Row("others", 1.5, 1)], "bad id for 'others': an id is a str, an int or a UUID"),
        ([Row(Odd.USERS, 9, 1)], "the entity of a Row is of type Odd: use its name"),  # type: ignore[arg-type]
        ([Row(None, 9, 1)], "Row is of type NoneType: use its name, or what registering it gave"),  # type: ignore[arg-type]
        ([Row("\ud800", 9, 1)], "an entity name is 1 to 64 of"),
        ([Reads(5)], "the entity of a Reads is of type int: use its name, or what registering it gave"),  # type: ignore[arg-type]
        ([Row("users", 9, {"a": float("nan")})], "row users/'9': field 'a' is nan"),
        ([Row("users", 9, {"a": 2**60})], r"row users/'9': field 'a' is an integer beyond"),
        ([Row("users", 9, None), Row("users", 9, {})], "two rows have the key users/'9'"),
        ([Row("users", 9, {}), Row("users", 9, None)], "two rows have the key users/'9': yield a row once"),
        ([REPORT, Row("reports", "1", None)], "None was yielded besides rows"),
        ([Reads("orders", customer=1.5)], "Reads of 'orders': tag 'customer' is a float"),
        ([Reads("orders", **{f"t{n}": n for n in range(10_000)})], "10000 tags, and at most 16"),
    ],
)
async def test_what_cannot_be_sent(value: object, text: str):
    """Each names what is wrong: the key, the element, the field or the tag."""
    with pytest.raises(LoadFailed, match=text):
        await load(lambda _id: value)


async def test_none_beside_rows():
    """A generator says None for a key that does not exist, not for a row that does not."""

    async def confused(_id: str) -> AsyncIterator[object]:
        yield REPORT
        yield None

    with pytest.raises(LoadFailed, match="None was yielded besides rows"):
        await load(confused)


async def test_a_generator_is_closed():
    """What it opened is closed before the result counts, also where it raises."""
    closed: list[str] = []

    async def opens(_id: str) -> AsyncIterator[object]:
        try:
            yield REPORT
            raise OSError("broken")
        finally:
            closed.append("closed")

    with pytest.raises(OSError, match="broken"):
        await load(opens)
    assert closed == ["closed"]


async def test_versions_tell_keys_and_order_apart():
    """Equal data under other keys or in another order is another state."""
    states = [
        [Row("users", 1, {}), Row("users", 2, {})],
        [Row("users", 2, {}), Row("users", 1, {})],
        [Row("users", 1, {}), Row("users", 3, {})],
        [{}, Row("users", 2, {})],
    ]
    remaining = iter(states)
    versions = {(await load(lambda _id: next(remaining))).version for _ in states}
    assert len(versions) == len(states)


async def endless(_id: str) -> AsyncIterator[object]:
    for id in count():
        yield Row("users", id, {"name": "Ada"})


def endless_plainly(_id: str) -> Iterator[object]:
    for id in count():
        yield Row("users", id, {"name": "Ada"})


def a_list(_id: str) -> list[object]:
    return [*(Row("users", id, {"name": "Ada"}) for id in range(100)), Row("users", "not one", object())]


@pytest.mark.parametrize("function", [endless, endless_plainly, a_list])
async def test_too_large_at_once(function: Callable[..., Any]):
    """A result is refused at the row that is too much; what would come after it is not even looked at."""
    with pytest.raises(LoadFailed, match="at least 1010 bytes of rows, more than 1000") as caught:
        await load(function)
    assert caught.value.code == "too_large"


async def test_keys_count():
    """A long list of small rows is large by its keys, which the clients are sent as well."""
    rows = [Row("users", 10**30 + id, 1) for id in range(20)]
    with pytest.raises(LoadFailed, match="more than 1000"):
        await load(lambda _id: rows)
    assert len((await load(lambda _id: rows[:10])).rows) == 10


async def test_a_thread_that_nobody_waits_for():
    """A generator in a thread ends at what it yields next when its load was given up."""
    begun, ended = asyncio.Event(), asyncio.Event()
    go_on = threading.Event()
    loop = asyncio.get_running_loop()

    def reads_for_ever(_id: str) -> Iterator[object]:
        try:
            loop.call_soon_threadsafe(begun.set)
            go_on.wait()
            while True:
                yield Reads("orders")
        finally:
            loop.call_soon_threadsafe(ended.set)

    task = asyncio.create_task(load(reads_for_ever))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await ended.wait()


class Lazy:
    """An object whose members are read from a database when they are looked at."""

    read_in: int

    @property
    def title(self) -> str:
        self.read_in = threading.get_ident()
        return "Bread"


@dataclass
class Shown:
    title: str


async def test_members_are_read_in_the_thread_of_the_loader():
    """What a plain function returned or yielded may do I/O when it is looked at: not in the event loop."""
    lazy = Lazy()

    def returned(_id: str) -> Shown:
        return lazy  # type: ignore[return-value]

    def yielded(_id: str) -> Iterator[Shown]:
        yield lazy  # type: ignore[misc]

    for function in (returned, yielded):
        assert (await load(function)).rows[0].data == b'{"title":"Bread"}'
        assert lazy.read_in != threading.get_ident()
