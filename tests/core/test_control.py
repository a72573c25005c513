"""What nodes of different versions have to agree on: the spelling and the bounds of control messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from entity_sync.core.control import Beat, Control, Echo, Order, decode, encode
from entity_sync.model import Origin, Source

SPELLED: list[tuple[Control, dict[str, Any]]] = [
    (Beat("p", "e"), {"control": "beat", "publisher": "p", "epoch": "e"}),
    (
        Beat("p", "e", {"items": (3, 17)}, 10_000, bye=True),
        {
            "control": "beat", "publisher": "p", "epoch": "e",
            "topics": {"items": [3, 17]}, "next_ms": 10_000, "bye": True,
        },
    ),
    (
        Order("p", "e", 1, ("items",)),
        {"control": "resync", "publisher": "p", "epoch": "e", "seq": 1, "entities": ["items"]},
    ),
    (
        Order("p", "e", 2, (), 5),
        {"control": "resync", "publisher": "p", "epoch": "e", "seq": 2, "entities": [], "since": 5},
    ),
    (Echo("e", 7), {"control": "echo", "epoch": "e", "number": 7}),
]  # fmt: skip


@pytest.mark.parametrize(("message", "spelled"), SPELLED)
def test_spelling(message: Control, spelled: dict[str, Any]):
    """Each message is spelled in this way, without what is as it mostly is, and read in this way."""
    assert json.loads(encode(message)) == spelled
    assert decode(json.dumps(spelled).encode()) == message


def test_who_says_it():
    """A beat and an order name their source, an order its place among the orders."""
    assert Beat("p", "e").source == Source("p", "e")
    assert Order("p", "e", 2, (), 5).origin == Origin(Source("p", "e"), 2, 5)


@pytest.mark.parametrize(
    ("member", "last", "beyond"),
    [
        ("next_ms", 600_000, 600_001),
        ("next_ms", 0, -1),
        ("publisher", "p" * 64, "p" * 65),
        ("epoch", "e" * 64, "e" * 65),
        ("topics", {"n" * 64: [0, 0]}, {"n" * 65: [0, 0]}),
        ("topics", {"items": [2**53 - 1, 0]}, {"items": [2**53, 0]}),
        ("topics", {"items": [0, 2**53 - 1]}, {"items": [0, 2**53]}),
        ("topics", {"items": [0, 0]}, {"items": [0, -1]}),
    ],
)
def test_bounds_of_a_beat(member: str, last: object, beyond: object):
    """Ten minutes of silence, names of 64 characters and counts below 2^53 are read, more is not."""
    beat = {"control": "beat", "publisher": "p", "epoch": "e"}
    assert decode(json.dumps(beat | {member: last}).encode()) is not None
    assert decode(json.dumps(beat | {member: beyond}).encode()) is None


@pytest.mark.parametrize(("last", "beyond"), [(1, 0), (2**53 - 1, 2**53)])
def test_bounds_of_an_order(last: int, beyond: int):
    """Orders are numbered from 1, below 2^53."""
    order = {"control": "resync", "publisher": "p", "epoch": "e", "entities": []}
    assert decode(json.dumps(order | {"seq": last}).encode()) is not None
    assert decode(json.dumps(order | {"seq": beyond}).encode()) is None
