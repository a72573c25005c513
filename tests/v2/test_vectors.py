"""The protocol's examples, replayed on the real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from entity_sync import AccessDenied, ConnectionInfo, EntitySync
from entity_sync.core import classic
from entity_sync.core.messages import Pass, Secret, Subscribe, Unsubscribe
from entity_sync.testing import MemoryClient, settled

VECTORS = Path(__file__).resolve().parents[2] / "protocol" / "vectors"
CONVERSATIONS = json.loads((VECTORS / "v2.json").read_text())["conversations"]
FRAMES = json.loads((VECTORS / "classic.json").read_text())["frames"]


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation["name"])
async def test_v2_conversation(conversation: dict[str, Any]):
    """Every frame that the server sends is the one of the example, in its order, and no other."""
    rows: dict[str, Any] = {"1": {"n": 1}}
    sync = EntitySync()

    @sync.entity("items", public="refuses" in conversation)
    async def item(id: int) -> dict[str, Any] | None:
        return rows.get(str(id))

    async def who(secret: str | None, _connection: ConnectionInfo) -> str:
        if secret in conversation["refuses"]:
            raise AccessDenied
        return "somebody"

    if "refuses" in conversation:
        sync.authenticate(who)
    async with sync:
        client = MemoryClient.of(sync)
        for step in conversation["steps"]:
            if "up" in step:
                await client.send(step["up"])
            elif "change" in step:
                rows.update(step["change"])
                await item.notify(*step["change"])
                await settled(sync)
            else:
                assert agrees(step["down"], await client.receive())
        await settled(sync)
        assert client.pending() == []


def agrees(expected: Any, found: Any) -> bool:
    """Equal, where "*" stands for anything."""
    if expected == "*":
        return True
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(
            agrees(expected[name], found[name]) for name in expected
        )
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(agrees, expected, found))
    return type(expected) is type(found) and bool(expected == found)


@pytest.mark.parametrize("vector", FRAMES, ids=lambda vector: vector["frame"][:40])
def test_classic_frame(vector: dict[str, Any]):
    """Every classic frame means what the example says, as text and as binary."""
    for frame in (vector["frame"], vector["frame"].encode()):
        message = classic.decode(frame)
        kind = {Subscribe: "subscribe", Unsubscribe: "unsubscribe", Secret: "secret", Pass: "message"}
        assert kind.get(type(message), "nothing") == vector["means"]
        if isinstance(message, Subscribe | Unsubscribe):
            [wanted] = message.wanted
            assert (wanted.entity, wanted.id) == (vector["entity"], vector["id"])
        elif isinstance(message, Secret):
            assert message.value == vector["secret"]
