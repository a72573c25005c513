"""What the documents show is executed, and what they name exists."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from entity_sync import EntitySync
from entity_sync.server.standalone import listen

pytestmark = pytest.mark.source

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("protocol/*.md")]


def block(document: str, name: str) -> dict[str, Any]:
    """Execute the Python block that follows ``<!-- run: name -->`` and return its names."""
    text = (ROOT / document).read_text()
    found = re.search(rf"<!-- run: {name} -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found is not None, f"{document} has no block named {name}"
    names: dict[str, Any] = {"__name__": name}
    exec(compile(found[1], f"{document}:{name}", "exec", dont_inherit=True), names)
    return names


def test_readme_fastapi():
    """The README's application serves a page's WebSocket and follows its own PUT."""
    app = block("README.md", "fastapi")["app"]
    with (
        TestClient(app) as http,
        http.websocket_connect("/ws/entity-sync/", subprotocols=["entity-sync.v2"]) as socket,
    ):
        assert socket.receive_json()["event"] == "welcome"
        socket.send_json({"action": "subscribe", "body": {"entity": "prices", "id": "tea"}})
        assert socket.receive_json() == {"event": "ack"}
        assert socket.receive_json()["rows"] == [{"data": {"price": 4}}]
        assert http.put("/prices/tea?value=5").json() == {"price": 5}
        assert socket.receive_json()["rows"] == [{"data": {"price": 5}}]


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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path):
    """Every relative link and image of a document exists."""
    targets = re.findall(r"\]\(([^)#:]+)\)|src(?:set)?=\"([^\"]+)\"", document.read_text())
    for target in (first or second for first, second in targets):
        assert (document.parent / target).exists(), f"{document.name} links to {target}, which does not exist"


def test_guarantee_names_every_variant():
    """The race table of the documents has a row for every hub that the simulation knows."""
    from tests.simulation.campaign import VARIANTS

    table = (ROOT / "docs" / "guarantee.md").read_text()
    assert [name for name in VARIANTS if f"| {name}: " not in table] == []
