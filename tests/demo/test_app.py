"""The demo's application without its page: what it accepts, refuses and serves."""

from __future__ import annotations

import shlex
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from entity_sync.cli.demo import app
from entity_sync.cli.demo.schema import STATUSES
from entity_sync.client import Client, connect
from entity_sync.errors import ConfigurationError
from entity_sync.server.standalone import listen


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "bakery.sqlite3"


@pytest.fixture
async def client(database: Path) -> AsyncIterator[Client]:
    async with listen(app.build(database)) as listener, connect(listener.url) as client:
        yield client


def order(database: Path, id: int) -> dict[str, Any]:
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        return dict(connection.execute("SELECT * FROM orders WHERE id = ?", (id,)).fetchone())


@pytest.mark.parametrize(("field", "value"), [("quantity", 0), ("status", "sold"), ("note", "x" * 80)])
async def test_edit(client: Client, database: Path, field: str, value: object):
    """An edit changes one field of one row, and when it was changed."""
    before = order(database, 3)
    assert await client.message({"edit": {"id": 3, "field": field, "value": value}}) == {"ok": True}
    after = order(database, 3)
    assert after == before | {field: value, "updated_at": after["updated_at"]}
    assert after["updated_at"] > before["updated_at"]


@pytest.mark.parametrize(
    "edit",
    [
        {"id": 3, "field": "quantity", "value": -1},
        {"id": 3, "field": "quantity", "value": 1000},
        {"id": 3, "field": "quantity", "value": True},
        {"id": 3, "field": "quantity", "value": "4"},
        {"id": 3, "field": "quantity", "value": 4.5},
        {"id": 3, "field": "quantity", "value": 10**30},
        {"id": "3", "field": "quantity", "value": 4},
        {"id": 10**30, "field": "quantity", "value": 4},
        {"id": 2**63, "field": "quantity", "value": 4},
        {"id": 7, "field": "quantity", "value": 4},
        {"id": 3, "field": "status", "value": "burnt"},
        {"id": 3, "field": "note", "value": "x" * 81},
        {"id": 3, "field": "note", "value": None},
        {"id": 3, "field": "customer", "value": "Mallory"},
        {"id": 3, "field": "note"},
        {"id": 3, "field": "note", "value": "", "more": 1},
        "note",
        None,
    ],
)
async def test_wrong_edit_is_refused(client: Client, database: Path, edit: object):
    """What is no edit changes nothing and is answered with a reason."""
    before = order(database, 3)
    answer = await client.message({"edit": edit})
    assert answer["ok"] is False
    assert answer["text"]
    assert order(database, 3) == before


@pytest.mark.parametrize("id", ["7", "-1", str(10**30)])
async def test_order_that_does_not_exist(client: Client, id: str):
    """An id without a row is gone, also one that SQLite could not store."""
    state = await anext(aiter(client.subscribe("orders", id)))
    assert state.is_gone


async def test_about(client: Client, database: Path):
    """The page learns where the database is, whole."""
    state = await anext(aiter(client.subscribe("about", "demo")))
    assert state.rows[0].data["database"] == str(database)


def test_notify_command_runs(monkeypatch: pytest.MonkeyPatch):
    """What is suggested runs where the PATH leads nowhere, and is short where it leads here."""
    link = app.Link("nsq://127.0.0.1:4150")
    monkeypatch.setenv("PATH", "/nowhere")
    command = shlex.split(link.notify_command("orders", "3", is_private=True))
    assert command[-5:] == ["notify", "--broker", "nsq://127.0.0.1:4150", "orders", "3"]
    subprocess.run([*command, "--help"], check=True, capture_output=True)
    script = Path(sys.executable).with_name("entity-sync")
    if script.exists():
        monkeypatch.setenv("PATH", str(script.parent))
        assert link.notify_command(is_private=True).startswith("entity-sync notify --broker ")


def test_orders_survive(database: Path):
    """Building on a file again keeps its rows."""
    app.build(database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE orders SET quantity = 8 WHERE id = 3")
    app.build(database)
    assert order(database, 3)["quantity"] == 8


def test_mistyped_status_fails(database: Path):
    """A status that no lane has is refused where it was typed; each that a lane has is taken."""
    app.build(database)
    with closing(sqlite3.connect(database)) as connection, connection:
        for status in STATUSES:
            connection.execute("UPDATE orders SET status = ? WHERE id = 3", (status,))
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            connection.execute("UPDATE orders SET status = 'redy' WHERE id = 3")


def test_nodes_that_begin_together(tmp_path: Path):
    """Nodes that start at once on a new file all find the six orders."""
    program = "import sys; from pathlib import Path; from entity_sync.cli.demo.shop import Shop\n"
    program += "sys.stdin.read(1)\nfor path in sys.argv[1:]: Shop(Path(path))"
    files = [str(tmp_path / f"{number}.sqlite3") for number in range(40)]
    command = [sys.executable, "-c", program, *files]
    nodes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for node in nodes:
        assert node.stdin is not None
        node.stdin.write("!")
        node.stdin.flush()
    assert [node.communicate()[1] for node in nodes] == [""] * 4
    for file in files:
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("SELECT count(*) FROM orders").fetchone() == (6,)


def test_database_of_another_application(database: Path):
    """A file with somebody else's orders is refused and left as it is."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER)")
    before = database.read_bytes()
    with pytest.raises(ConfigurationError, match="another application"):
        app.build(database)
    assert database.read_bytes() == before


def test_file_that_is_no_database(database: Path):
    """A file that SQLite cannot read is refused in words."""
    database.write_text("flour, water, salt\n" * 100)
    with pytest.raises(ConfigurationError, match="cannot use the database"):
        app.build(database)


def test_pages():
    """Every page is in the package, and what the page links to is served."""
    pages = app.pages()
    assert pages["/"].content_type.startswith("text/html")
    text = pages["/"].body.decode()
    for path in pages:
        assert path == "/" or f'"{path}"' in text
    assert "<style" not in text
    assert "style=" not in text
