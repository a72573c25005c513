"""What the documents show is executed, and what they name exists."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from entity_sync import EntitySync
from entity_sync.brokers.base import Broker, Lost, Message, Restored
from entity_sync.brokers.registry import broker_from
from entity_sync.errors import NotRunning, UnknownBroker
from entity_sync.server.standalone import listen
from entity_sync.testing import BrokerContract
from tests.demo.cluster import demo, tabs

pytestmark = pytest.mark.source

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("protocol/*.md")]


def source(document: str, name: str) -> str:
    """The text of the block that follows ``<!-- run: name -->`` or ``<!-- file: name -->``."""
    text = (ROOT / document).read_text()
    found = re.search(rf"<!-- (?:run|file): {re.escape(name)} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    assert found is not None, f"{document} has no block named {name}"
    return found[1]


def block(document: str, name: str) -> dict[str, Any]:
    """Execute a Python block and return its names."""
    names: dict[str, Any] = {"__name__": name}
    exec(compile(source(document, name), f"{document}:{name}", "exec", dont_inherit=True), names)
    return names


def connected(http: TestClient, path: str, origin: str | None = None) -> WebSocketTestSession:
    headers = {} if origin is None else {"Origin": origin}
    return http.websocket_connect(path, subprotocols=["entity-sync.v2"], headers=headers)


def assert_follows(http: TestClient, socket: WebSocketTestSession) -> None:
    """A client of this application is shown the price of tea, and what a PUT makes of it."""
    assert socket.receive_json()["event"] == "welcome"
    socket.send_json({"action": "subscribe", "body": {"entity": "prices", "id": "tea"}})
    assert socket.receive_json() == {"event": "ack"}
    assert socket.receive_json()["rows"] == [{"data": {"price": 4}}]
    assert http.put("/prices/tea?value=5").json() == {"price": 5}
    assert socket.receive_json()["rows"] == [{"data": {"price": 5}}]


def test_readme_fastapi():
    """The README's application serves a page's WebSocket and follows its own PUT."""
    app = block("README.md", "main.py")["app"]
    with TestClient(app) as http, connected(http, "/ws/entity-sync/") as socket:
        assert_follows(http, socket)


def test_readme_address():
    """Without its final slash the README's WebSocket is not found, and another origin's page is refused."""
    app = block("README.md", "main.py")["app"]
    with TestClient(app) as http:
        with pytest.raises(WebSocketDisconnect), connected(http, "/ws/entity-sync"):
            pass
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            connected(http, "/ws/entity-sync/", "http://localhost:5173"),
        ):
            pass
        assert refused.value.status_code == 403


def test_readme_origins():
    """The README's line lets the page of a development server in."""
    [line] = re.findall(r"`(EntitySync\(origins=.*?\))`", (ROOT / "README.md").read_text())
    sync = eval(line, {"EntitySync": EntitySync})
    with TestClient(sync) as http, connected(http, "/", "http://localhost:5173") as socket:
        assert socket.receive_json()["event"] == "welcome"


def test_fastapi_plain_functions():
    """An endpoint and a loader that are not async are followed as others are; before the start nobody is."""
    names = block("docs/fastapi.md", "plain.py")
    with pytest.raises(NotRunning):
        names["price"].notify_soon("tea")
    with TestClient(names["app"]) as http, connected(http, "/live/") as socket:
        assert_follows(http, socket)


def test_fastapi_plain_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Plain sessions, loaders and endpoints are followed without a word of notify."""
    monkeypatch.chdir(tmp_path)
    names = block("docs/fastapi.md", "sync_shop.py")
    with TestClient(names["app"]) as http, connected(http, "/live/") as socket:
        assert socket.receive_json()["event"] == "welcome"
        socket.send_json({"action": "subscribe", "body": {"entity": "customer_orders", "id": "ann"}})
        assert socket.receive_json() == {"event": "ack"}
        assert socket.receive_json()["rows"] == []
        assert http.post("/orders?customer=ann").json() == 1
        assert socket.receive_json()["rows"] == [{"entity": "orders", "id": "1", "data": {"id": 1}}]
    names["engine"].dispose()


def test_fastapi_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The route of a page that answers with a token: the state that shows the change comes with it."""
    shop = source("docs/fastapi.md", "shop.py").splitlines()
    (tmp_path / "shop.py").write_text("\n".join(line[1:] for line in shop if not line.startswith("-")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    app = block("docs/fastapi.md", "tokens.py")["app"]
    try:
        with TestClient(app) as http, connected(http, "/live/") as socket:
            assert socket.receive_json()["event"] == "welcome"
            assert http.post("/orders?customer=ann").json()["id"] == 1
            body = {"entity": "customer_orders", "id": "ann", "causes": True}
            socket.send_json({"action": "subscribe", "body": body})
            assert socket.receive_json() == {"event": "ack"}
            assert socket.receive_json()["rows"][0]["data"]["status"] == "new"
            token = http.put("/orders/1/status?status=baked").json()
            shown = None
            while (message := socket.receive_json()).get("causes") != [token]:
                shown = message if message["event"] == "snapshot" else shown
            assert shown is not None
            assert shown["rows"][0]["data"]["status"] == "baked"
            assert http.put("/orders/1/status?status=baked").json() is None
            assert http.put("/orders/2/status?status=baked").status_code == 404
            assert http.portal is not None
            http.portal.call(sys.modules["shop"].engine.dispose)
    finally:
        del sys.modules["shop"]


def test_log_without_set_up():
    """As docs/fastapi.md says, a warning reaches standard error by itself, what is less does not."""
    program = (
        "import logging, entity_sync; log = logging.getLogger('entity_sync.hub')\n"
        "log.warning('a warning'); log.info('hidden')\n"
        "logging.basicConfig(level=logging.INFO); log.info('shown')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stderr.splitlines() == ["a warning", "INFO:entity_sync.hub:shown"]


def test_brokers_signing(monkeypatch: pytest.MonkeyPatch):
    """The signing application of docs/brokers.md takes its secret from the environment."""
    monkeypatch.setenv("SHOP_SIGNING_SECRET", "x" * 16)
    assert isinstance(block("docs/brokers.md", "signing")["sync"], EntitySync)


async def test_readme_client(capsys: pytest.CaptureFixture[str]):
    """The README's Python program prints the row it follows."""
    follow = block("README.md", "client")["follow"]
    sync = EntitySync()

    @sync.entity("prices")
    async def price(id: str) -> dict[str, int]:
        return {"price": 4}

    async with listen(sync, host="127.0.0.1", port=0, path="/ws/entity-sync/") as listener:
        following = asyncio.create_task(follow(listener.url))
        async with asyncio.timeout(10):
            while "price" not in capsys.readouterr().out:
                await asyncio.sleep(0.01)
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The broker of docs/own-broker.md, importable and registered as it says, in child processes too."""
    (tmp_path / "sqlite_queue.py").write_text(source("docs/own-broker.md", "sqlite_queue"))
    project = tomllib.loads(source("docs/own-broker.md", "pyproject.toml"))["project"]
    [(group, entries)] = project["entry-points"].items()
    information = tmp_path / "sqlite_queue-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: sqlite-queue\nVersion: 1\n")
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (information / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    found = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(found))
    yield tmp_path
    sys.modules.pop("sqlite_queue", None)


class OwnBroker(BrokerContract):
    @pytest.fixture(autouse=True)
    def queue(self, installed: Path) -> None:
        self.url = f"sqlite-queue://{installed}/queue.sqlite3"


class TestOwnBrokerAsObject(OwnBroker):
    async def make(self) -> Broker:
        broker: Broker = import_module("sqlite_queue").SqliteBroker(self.url)
        return broker


class TestOwnBrokerByEntryPoint(OwnBroker):
    async def make(self) -> Broker:
        return broker_from(self.url)

    async def test_slow_node_is_told(self):
        """Who is further behind than the table keeps is told that messages are lost, and goes on."""
        async with self._joined("items") as slow, self._joined("items") as quick:
            await quick.publish("items", [b"old"] * 100_005)
            deliveries = slow.receive()
            assert [await anext(deliveries) for _ in range(3)] == [
                Lost(),
                Restored(),
                Message("items", b"old"),
            ]


def test_own_broker_is_short():
    """The adapter has 60 lines at most."""
    assert len(source("docs/own-broker.md", "sqlite_queue").splitlines()) <= 60


def test_own_broker_as_the_page_hands_it_over(installed: Path):
    """The page's application takes the adapter as an object."""
    assert isinstance(block("docs/own-broker.md", "object")["sync"], EntitySync)


async def test_own_broker_passes_the_tests_of_its_page(installed: Path):
    """The page's test module passes as it stands."""
    (installed / "test_sqlite_queue.py").write_text(source("docs/own-broker.md", "test_sqlite_queue"))
    (installed / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_sqlite_queue.py"]
    process = await asyncio.create_subprocess_exec(*command, cwd=installed, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert " passed" in output.decode()


async def test_own_broker_joins_processes(installed: Path):
    """Nodes in three processes show an edit of one of them, and the notify of a fourth."""
    broker = f"sqlite-queue://{installed}/queue.sqlite3"
    async with (
        demo(installed / "bakery.sqlite3", "--nodes", "3", "--broker", broker) as cluster,
        tabs(cluster.sockets) as shown,
    ):
        assert await shown[0].client.message({"edit": {"id": 3, "field": "quantity", "value": 40}}) == {
            "ok": True
        }
        for tab in shown:
            await tab.until(quantity=40)
        with closing(sqlite3.connect(cluster.database)) as connection, connection:
            connection.execute("UPDATE orders SET note = 'from outside' WHERE id = 3")
        notify = await asyncio.create_subprocess_exec(*cluster.notify_command)
        assert await notify.wait() == 0
        for tab in shown:
            await tab.until(note="from outside")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path):
    """Every relative link and image of a document exists."""
    targets = re.findall(r"\]\(([^):]+)\)|src(?:set)?=\"([^\"]+)\"", document.read_text())
    for target in (first or second for first, second in targets):
        path, _, anchor = target.partition("#")
        found = document.parent / path if path else document
        assert found.exists(), f"{document.name} links to {path}, which does not exist"
        assert not anchor or anchor in anchors(found), f"{document.name}: {path} has no heading #{anchor}"


def test_readme_names_every_document():
    """Whoever looks for a page finds it from the README."""
    text = (ROOT / "README.md").read_text()
    names = [str(path.relative_to(ROOT)) for path in DOCUMENTS if path.name != "README.md"]
    assert [name for name in names if f"]({name})" not in text] == []


def anchors(document: Path) -> set[str]:
    """The headings of a document as GitHub spells them in links."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_brokers_page_names_every_scheme():
    """The table of URLs has every scheme that is built in, and its forms are understood."""
    page = (ROOT / "docs" / "brokers.md").read_text()
    table = page[page.index("## URLs") :].split("\n\n")[1]
    with pytest.raises(UnknownBroker) as unknown:
        broker_from("carrier-pigeon://loft")
    known = set(re.findall(r"[a-z+]+", str(unknown.value).partition("known: ")[2].partition(")")[0]))
    assert set(re.findall(r"`([a-z+]+)://`", table)) == known
    forms = re.findall(r"`([a-z+]+://[A-Z:][^`]*)`", table)
    assert {form.partition("://")[0] for form in forms} >= {"memory", "nsq", "nats", "redis", "postgresql"}
    for form in forms:
        broker_from(form)


@pytest.mark.parametrize("name", ["nodes", "client"])
def test_brokers_page(name: str):
    """The page's code makes an application."""
    assert isinstance(block("docs/brokers.md", name)["sync"], EntitySync)


def test_guarantee_names_every_variant():
    """The race table of the documents has a row for every hub that the simulation knows."""
    from tests.simulation.campaign import VARIANTS

    table = (ROOT / "docs" / "guarantee.md").read_text()
    assert [name for name in VARIANTS if name != "ours" and f"| {name}: " not in table] == []
