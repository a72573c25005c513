"""What nodes tell one another besides changes: compact JSON on topics that a Go node never reads.

A message is a Beat, an Order to load again, or an Echo; each is small, and none holds data.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from entity_sync.model import Origin, Source

__all__ = ["MAX_SILENCE_MS", "Beat", "Control", "Echo", "Order", "decode", "encode"]

MAX_SILENCE_MS = 600_000
"""The most a source may take until its next sign of life."""

_Name: TypeAlias = Annotated[str, Meta(max_length=64)]
_Count: TypeAlias = Annotated[int, Meta(ge=0, lt=2**53)]


class Beat(msgspec.Struct, tag_field="control", tag="beat", frozen=True, omit_defaults=True):
    """How far a source has numbered its messages, so that the loss of a last one is noticed.

    Attributes:
        topics: name → the last number, and the milliseconds since it was handed over.
        next_ms: at the latest then comes the next beat; a source that stays silent for several of
            them, and has not said bye, may have died with messages on their way. None: it says nothing.
        bye: these are the last words of this source.
    """

    publisher: _Name
    epoch: _Name
    topics: dict[_Name, tuple[_Count, _Count]] = {}
    next_ms: Annotated[int, Meta(ge=0, le=MAX_SILENCE_MS)] | None = None
    bye: bool = False

    @property
    def source(self) -> Source:
        """Whose numbers they are."""
        return Source(self.publisher, self.epoch)


class Order(msgspec.Struct, tag_field="control", tag="resync", frozen=True, omit_defaults=True):
    """Load everything of these entities again: more keys changed than their node could keep."""

    publisher: _Name
    epoch: _Name
    seq: Annotated[int, Meta(ge=1, lt=2**53)]
    entities: tuple[_Name, ...]
    since: _Count | None = None

    @property
    def origin(self) -> Origin:
        """Its place among the orders of its source: a lost one is found as a lost change is."""
        return Origin(Source(self.publisher, self.epoch), self.seq, self.since)


class Echo(msgspec.Struct, tag_field="control", tag="echo", frozen=True):
    """What a node sends to itself, to see that its link carries."""

    epoch: _Name
    number: _Count


Control: TypeAlias = Beat | Order | Echo

_decoder: msgspec.json.Decoder[Control] = msgspec.json.Decoder(Control)
encode = msgspec.json.Encoder().encode


def decode(payload: bytes) -> Control | None:
    """The message, or None where the bytes are none."""
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
