"""Keys that changed → numbered broker messages, by topic."""

from __future__ import annotations

from collections.abc import Iterable

from entity_sync.core import change
from entity_sync.model import Change, EntityKey, Origin

__all__ = ["Announcer"]


class Announcer:
    """One life of one publisher: numbers its messages per topic, from 1.

    Attributes:
        epoch: this life, by which a node knows its own messages again.
    """

    def __init__(self, publisher: str, epoch: str) -> None:
        self.epoch = epoch
        self._publisher = publisher
        self._seqs: dict[str, int] = {}

    def messages(self, keys: Iterable[EntityKey]) -> dict[str, list[bytes]]:
        """The payloads to publish, in order, one key each."""
        found: dict[str, list[bytes]] = {}
        for key in keys:
            seq = self._seqs[key.entity] = self._seqs.get(key.entity, 0) + 1
            origin = Origin(self._publisher, self.epoch, seq)
            found.setdefault(key.entity, []).append(change.encode(Change(key, origin)))
        return found
