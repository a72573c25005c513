"""The page about the Python client: its code is executed against its server, and does what it says."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, get_args

import pytest

from entity_sync import AccessDenied
from entity_sync.client import Refusal, Row, State, connect
from entity_sync.client.state import StaleReason
from entity_sync.server.standalone import Listener, listen
from tests.test_documents import ROOT, block

pytestmark = pytest.mark.source

PAGE = "docs/client.md"


@pytest.fixture
def menu() -> dict[str, Any]:
    return block(PAGE, "menu.py")


@pytest.fixture
async def listener(menu: dict[str, Any]) -> AsyncIterator[Listener]:
    async with listen(menu["sync"]) as listener, asyncio.timeout(30):
        yield listener


async def test_follow(menu: dict[str, Any], listener: Listener):
    """Its loop is shown what there is, what becomes of it, and that it is gone."""
    shown: asyncio.Queue[str] = asyncio.Queue()
    follow = block(PAGE, "follow")["follow"]
    following = asyncio.create_task(follow(listener.url, "prices", "tea", shown.put_nowait))
    assert await shown.get() == "tea {'price': 4}"
    menu["prices"]["tea"] = 5
    await menu["price"].notify("tea")
    assert await shown.get() == "tea {'price': 5}"
    del menu["prices"]["tea"]
    await menu["price"].notify("tea")
    assert await shown.get() == "gone"
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (State(is_denied=True, stale_reason=None), "not for us"),
        (State(is_gone=True, stale_reason=None), "gone"),
        (State(version="v", stale_reason=None), "nothing"),
        (State((Row("prices", "tea", 4),), "v", stale_reason="broker"), "tea 4 (may be old: broker)"),
        (State(), "nothing (may be old: connection)"),
    ],
)
def test_described(state: State, text: str):
    """It tells a denied key from one that is gone, an empty list, and what may be old."""
    assert block(PAGE, "follow")["described"](state) == text


def test_states_are_documented():
    """The page's table has every member of a State, and every reason why one may be old."""
    text = (ROOT / PAGE).read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    members = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert members >= {field.name for field in dataclasses.fields(State)} | {"data", "is_stale"}
    assert members >= set(get_args(StaleReason))


async def test_secrets(listener: Listener):
    """A secret function is asked, and who has another secret is somebody else."""
    asked = []

    def token() -> str:
        asked.append("a-token")
        return "a-token"

    mine, theirs = await block(PAGE, "secrets")["notes_of_two"](listener.url, token)
    assert (mine.data, theirs) == ({"text": "buy flour"}, State(is_denied=True, stale_reason=None))
    assert asked == ["a-token"]


async def test_refused_secret(listener: Listener):
    """It raises where the page says so, and another one brings back what was denied."""
    certain = block(PAGE, "secrets")["certain"]
    with pytest.raises(AccessDenied):
        async with connect(listener.url, secret="guessed"):
            pass
    async with connect(listener.url, secret="a-token") as client:
        note = client.subscribe("notes", "ann")
        assert (await certain(note)).data == {"text": "buy flour"}
        with pytest.raises(AccessDenied):
            await client.identify("guessed")
        assert (await certain(note)).is_denied
        await client.identify("a-token")
        assert (await certain(note)).data == {"text": "buy flour"}


async def test_messages(menu: dict[str, Any], listener: Listener):
    """An answer is what the application returned; what failed has its code, without the text."""
    said = block(PAGE, "messages")["said"]
    async with connect(listener.url, secret="a-token") as client:
        assert set(await said(client, ["tea", 6])) == {"token"}
        assert menu["prices"]["tea"] == 6
        assert await said(client, "no pair of a name and a value") == "failed"
        with pytest.raises(Refusal) as refused:
            await client.subscribe("coffees", "1").next()
        assert (refused.value.code, refused.value.is_retryable) == ("unknown_entity", False)
    assert await said(client, []) == "unknown"


async def test_written(listener: Listener):
    """The list that is returned has the row that was written, each time."""
    reprice = block(PAGE, "written")["reprice"]
    for value in range(10, 30):
        state = await reprice(listener.url, "tea", value)
        assert {row.id: row.data["price"] for row in state.rows} == {"milk": 2, "tea": value}
