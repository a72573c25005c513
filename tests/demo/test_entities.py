"""What the bakery shows to whom, and what whoever may change: by clients, without the page."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from entity_sync import AccessDenied, EntitySync
from entity_sync.cli.demo import app, entities
from entity_sync.cli.demo.schema import STATUSES
from entity_sync.cli.demo.shop import Shop
from entity_sync.client import Client, Subscription, connect
from entity_sync.client.state import State
from entity_sync.server.standalone import listen
from entity_sync.testing import FakeClock, settled
from entity_sync.testing import connect as connect_in_memory

NADIA, SAMI = "nadia@north", "sami@south"
LONG = "x" * 61


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "bakery.sqlite3"


@pytest.fixture
async def url(database: Path) -> AsyncIterator[str]:
    async with listen(app.build(database)) as listener:
        yield listener.url


@pytest.fixture
async def guest(url: str) -> AsyncIterator[Client]:
    async with connect(url) as client:
        yield client


@pytest.fixture
async def nadia(url: str) -> AsyncIterator[Client]:
    async with connect(url, secret=NADIA) as client:
        yield client


@pytest.fixture
async def sami(url: str) -> AsyncIterator[Client]:
    async with connect(url, secret=SAMI) as client:
        yield client


def dump(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


async def until(subscription: Subscription, holds: Callable[[State], object]) -> State:
    async for state in subscription:
        if not state.is_stale and holds(state):
            return state
    raise AssertionError("closed")


def names(state: State) -> list[str]:
    return [row.data.get("customer") or row.data["name"] for row in state.rows]


async def test_order_that_is_added_and_moved(guest: Client):
    """An order comes into its lane by its customer's name, and moves from one into the other."""
    lanes = {status: guest.subscribe("board", status) for status in STATUSES}
    assert names(await lanes["ordered"].next()) == ["Chiara", "Farid"]
    assert names(await lanes["baking"].next()) == ["Bruno", "Dev"]
    order = {"customer": " Cora ", "item": "Plum cake", "quantity": 2}
    assert await guest.message({"add": order}) == {"ok": True}
    state = await until(lanes["ordered"], lambda state: len(state.rows) == 3)
    assert names(state) == ["Chiara", "Cora", "Farid"]
    edit = {"id": int(state.rows[1].id), "field": "status", "value": "baking"}
    assert await guest.message({"edit": edit}) == {"ok": True}
    assert names(await until(lanes["ordered"], lambda state: len(state.rows) == 2)) == ["Chiara", "Farid"]
    state = await until(lanes["baking"], lambda state: len(state.rows) == 3)
    assert names(state) == ["Bruno", "Cora", "Dev"]


async def test_lane_that_nobody_has(guest: Client):
    """A status that the bakery does not know has no lane."""
    assert (await guest.subscribe("board", "burnt").next()).is_gone


async def test_author_rides_along(guest: Client):
    """A report holds its author's row, and follows a change of that row alone."""
    report, other = guest.subscribe("reports", "1"), guest.subscribe("reports", "3")
    assert [row.entity for row in (await report.next()).rows] == ["reports", "users"]
    version = (await other.next()).version
    assert await guest.message({"rename": {"id": 1, "name": "Nadia Rahal"}}) == {"ok": True}
    await until(report, lambda state: state.rows[1].data["name"] == "Nadia Rahal")
    assert other.state.version == version
    assert (await guest.subscribe("reports", "9").next()).is_gone


async def test_each_branch_its_own_shelf(nadia: Client, sami: Client, guest: Client):
    """Users of two branches are shown different rows of one key, and a guest none."""
    shelves = [client.subscribe("shelf", "today") for client in (nadia, sami, guest)]
    north, south, nothing = [names(await shelf.next()) for shelf in shelves]
    assert north == ["Apple strudel", "Carrot cake", "Plum tart"]
    assert south == ["Almond torte", "Cheesecake", "Semolina slice"]
    assert nothing == []
    version = shelves[1].state.version
    assert await nadia.message({"sell": {"id": 1}}) == {"ok": True}
    await until(shelves[0], lambda state: state.rows[0].data["pieces"] == 7)
    assert shelves[1].state.version == version


async def test_recipe_is_shared_and_withdrawn(nadia: Client, sami: Client, guest: Client):
    """Its owner sees a recipe; another user only while it is shared; a guest never."""
    own, other, nobodys = [client.subscribe("recipes", "1") for client in (nadia, sami, guest)]
    assert not (await own.next()).is_denied
    for _ in range(2):
        await until(other, lambda state: state.is_denied and not state.rows)
        assert await nadia.message({"share": {"id": 1, "is_shared": True}}) == {"ok": True}
        await until(other, lambda state: not state.is_denied and state.data["title"])
        await until(own, lambda state: state.data["is_shared"])
        assert await nadia.message({"share": {"id": 1, "is_shared": False}}) == {"ok": True}
        await until(own, lambda state: not state.data["is_shared"])
    await until(other, lambda state: state.is_denied and not state.rows)
    assert (await nobodys.next()).is_denied


@pytest.mark.parametrize("secret", ["nadia@south", "nadia", "@north", "", "nobody@north"])
async def test_wrong_secret(url: str, secret: str):
    """Whoever is nobody of the bakery is refused."""
    with pytest.raises(AccessDenied):
        async with connect(url, secret=secret):
            pass


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        (SAMI, {"share": {"id": 1, "is_shared": True}}),
        (None, {"share": {"id": 1, "is_shared": True}}),
        (NADIA, {"share": {"id": 10**30, "is_shared": True}}),
        (NADIA, {"share": {"id": 1, "is_shared": 1}}),
        (SAMI, {"sell": {"id": 1}}),
        (None, {"sell": {"id": 1}}),
        (None, {"rename": {"id": 1, "name": "  "}}),
        (None, {"rename": {"id": 1, "name": "x" * 41}}),
        (None, {"rename": {"id": 3, "name": "Nobody"}}),
        (None, {"add": {"customer": "", "item": "Cake", "quantity": 1}}),
        (None, {"add": {"customer": "Cora", "item": LONG, "quantity": 1}}),
        (None, {"add": {"customer": "Cora", "item": "Cake", "quantity": -1}}),
        (None, {"add": {"customer": "Cora", "item": "Cake", "quantity": 1, "id": 1}}),
        (None, {"sell": {"id": 1}, "rename": {"id": 1, "name": "Nadia"}}),
        (None, {"drop": {"id": 1}}),
        (None, {}),
        (None, []),
    ],
)
async def test_wrong_change_is_refused(url: str, database: Path, secret: str | None, message: object):
    """What this user may not, or what makes no sense, changes nothing and is answered with a reason."""
    before = dump(database)
    async with connect(url, secret=secret) as client:
        answer = await client.message(message)
    assert answer["ok"] is False
    assert answer["text"]
    assert dump(database) == before


async def test_book_is_full(guest: Client, database: Path):
    """The page cannot add orders without end."""
    with closing(sqlite3.connect(database)) as connection, connection:
        row = "INSERT INTO orders (customer, item, quantity) VALUES ('Cora', 'Plum cake', 1)"
        for _ in range(294):
            connection.execute(row)
    answer = await guest.message({"add": {"customer": "Cora", "item": "Plum cake", "quantity": 1}})
    assert answer == {"ok": False, "text": "the book is full: it has 300 orders"}


async def test_sold_out(nadia: Client):
    """What is not on the shelf cannot be sold."""
    for _ in range(5):
        assert await nadia.message({"sell": {"id": 2}}) == {"ok": True}
    assert (await nadia.message({"sell": {"id": 2}}))["ok"] is False


async def test_who_watches_what(guest: Client, nadia: Client):
    """The node's views are shown with their audiences and numbers, but not the one that shows them."""
    views = guest.subscribe("views", "here")
    watched = [
        (guest, "orders", "3"), (nadia, "orders", "3"), (nadia, "recipes", "1"),
        (guest, "shelf", "today"), (nadia, "shelf", "today"),
    ]  # fmt: skip
    for client, entity, id in watched:
        await client.subscribe(entity, id).next()

    def shown(state: State) -> list[tuple[Any, ...]]:
        wanted = ("entity", "id", "audience", "subscribers")
        return [tuple(row.data[name] for name in wanted) for row in state.rows[1:]]

    expected = [
        ("orders", "3", "everyone", 2),
        ("recipes", "1", "those allowed", 1),
        ("shelf", "today", "guests", 1),
        ("shelf", "today", "north", 1),
    ]
    state = await until(views, lambda state: shown(state) == expected)
    assert state.data == {"views": 4, "subscribers": 5}


async def test_panel_is_quiet_while_nothing_changes(tmp_path: Path):
    """The panel looks again and again, and is sent again only when what it shows has changed."""
    clock = FakeClock()
    sync: EntitySync[entities.User] = EntitySync(clock=clock)
    entities.declare(sync, Shop(tmp_path / "bakery.sqlite3"), {})
    async with sync, connect_in_memory(sync) as client:
        await client.subscribe("views", "here")
        await client.receive_until("snapshot")
        await clock.advance(60)
        await settled(sync)
        assert {message["event"] for message in client.pending()} <= {"beat", "fresh"}
        await client.subscribe("about", "demo")
        await client.receive_until("snapshot")
        client.pending()
        await clock.advance(2)
        assert {message["event"] for message in client.pending()} & {"snapshot", "delta"}


def test_older_file_gets_the_new_tables(database: Path):
    """A file that holds nothing but orders is kept, and gets what it lacks."""
    Shop(database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE orders SET quantity = 8 WHERE id = 3")
        for table in ("users", "reports", "cakes", "recipes"):
            connection.execute(f"DROP TABLE {table}")
    Shop(database)
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT quantity FROM orders WHERE id = 3").fetchone() == (8,)
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (2,)
