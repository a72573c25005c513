"""The recorded WebSocket exchange of two of the original's servers and two of its clients, played again.

`recorded.jsonl` holds the frames, one a line, in the order in which they passed.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.server.direct.raw import CLOSE, TEXT, Frame, pushes

RECORDED = [json.loads(line) for line in Path(__file__).with_name("recorded.jsonl").read_text().splitlines()]
SESSIONS = sorted({frame["conn"] for frame in RECORDED})


def frame_of(recorded) -> Frame:
    """The frame as its bytes were."""
    payload = recorded["payload"].encode()
    if recorded["opcode"] == "close":
        payload = recorded["close_code"].to_bytes(2, "big") + payload
    return Frame(
        {"text": TEXT, "close": CLOSE}[recorded["opcode"]], payload, recorded["fin"], recorded["masked"]
    )


async def change(shop, row: bytes) -> None:
    shop.rows["items", "100"] = row
    await shop.sync.notify("items", "100")


@pytest.mark.parametrize("session", SESSIONS)
async def test_session(shop, client, session):
    """Each recorded client, told the same rows, is sent the same frames, byte for byte, to the end."""
    for recorded in (one for one in RECORDED if one["conn"] == session):
        expected = frame_of(recorded)
        if recorded["direction"] == "c2s":
            client.send_frame(expected.opcode, expected.payload)
            if expected.opcode == TEXT:
                assert await pushes(shop.sync, client) == []
            continue
        if expected.opcode == TEXT:
            await change(shop, expected.payload)
        assert await client.frame() == expected
    await client.ended()


async def test_both_clients_at_once(shop, client):
    """Two clients of one node get each of its rows once, in the order of the changes."""
    rows = [
        frame_of(one).payload for one in RECORDED if one["opcode"] == "text" and one["direction"] == "s2c"
    ]
    async with shop.connected() as other:
        for each in (client, other):
            each.subscribe("items", "100")
            assert await pushes(shop.sync, each) == []
        for row in rows:
            await change(shop, row)
            assert [await each.message() for each in (client, other)] == [row, row]
