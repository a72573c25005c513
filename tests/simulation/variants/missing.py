"""Hubs that miss changes: of what they depend on, in a gap, or while the broker is away."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from entity_sync.core.backlog import Backlog
from entity_sync.core.index import Index
from entity_sync.core.loaded import Loaded
from entity_sync.core.recent import Recent
from entity_sync.core.view import View
from entity_sync.hub.echo import Echo
from entity_sync.hub.gaps import Gaps
from entity_sync.hub.hub import Hub
from entity_sync.hub.outgoing import Outgoing
from entity_sync.model import Change
from tests.simulation.variants.variant import Variant
from tests.simulation.world import Habits


def _watches_no_rows() -> AbstractContextManager[Any]:
    return patch.object(Loaded, "dependencies", frozenset[Any]())


def _reads_without_trace() -> AbstractContextManager[Any]:
    return patch.object(Index, "_readers", lambda _index, _change: iter(()))


def _trusts_new_dependencies() -> AbstractContextManager[Any]:
    return patch.object(Recent, "concerns", lambda *_: False)


def _forgets_and_trusts() -> AbstractContextManager[Any]:
    def note(self: Recent, change: Change, now: float) -> None:
        self.moment += 1
        noted = self.moment, now, change
        self._changes, self._of_key = {change.key.entity: deque([noted])}, {change.key: [noted]}

    return patch.object(Recent, "note", note)


def _no_resync_after_gap() -> AbstractContextManager[Any]:
    def resync(self: Hub, _entities: object = None) -> None:
        self._resync.add(())

    return patch.object(Hub, "resync", resync)


def _resyncs_own_entities() -> AbstractContextManager[Any]:
    return patch.object(View, "concerns", lambda view, entities: view.key.entity in entities)


def _hears_no_numbers() -> AbstractContextManager[Any]:
    return patch.multiple(Gaps, hear=lambda *_: None, learn=lambda *_: None)


def _tells_no_last_numbers() -> AbstractContextManager[Any]:
    async def beat(_outgoing: Outgoing, _peers: object, _poll: object) -> None:
        await asyncio.Event().wait()

    return patch.object(Outgoing, "beat", beat)


def _does_not_hear_itself() -> AbstractContextManager[Any]:
    async def watch(_echo: Echo, confirmed: Callable[[], None], _is_up: object) -> None:
        confirmed()
        await asyncio.Event().wait()

    return patch.object(Echo, "watch", watch)


def _trusts_silence() -> AbstractContextManager[Any]:
    return patch.object(Gaps, "poll", lambda _self: None)


def _forgets_deferred() -> AbstractContextManager[Any]:
    return patch.object(Backlog, "keep", lambda _self, _changes: None)


def _overflows_unsaid() -> AbstractContextManager[Any]:
    return patch.object(Backlog, "_overflow", lambda backlog: backlog._kept.clear())


MISSING = (
    Variant(6, "watches-no-rows", "a row that rides along is not a dependency", _watches_no_rows),
    Variant(6, "no-live-queries", "what a loader read is not watched", _reads_without_trace),
    Variant(
        6,
        "trusts-new-rows",
        "what changed while a load found its dependencies is not looked for",
        _trusts_new_dependencies,
    ),
    Variant(6, "forgets-and-trusts", "what is not remembered did not happen", _forgets_and_trusts),
    Variant(7, "no-resync", "nothing is loaded again after a gap", _no_resync_after_gap),
    Variant(
        7,
        "resync-too-early",
        "resync on reconnect, before the subscription is confirmed, and nothing to find out",
        _hears_no_numbers,
        habits=Habits(restores_early=True),
    ),
    Variant(
        7,
        "resync-by-key",
        "after a gap the views of an entity are loaded, not those that hold its rows",
        _resyncs_own_entities,
    ),
    Variant(7, "no-numbers", "a number that is missing means nothing", _hears_no_numbers),
    Variant(7, "no-last-numbers", "who falls quiet does not tell how far it got", _tells_no_last_numbers),
    Variant(7, "no-echo", "a node does not listen to itself", _does_not_hear_itself),
    Variant(7, "trusts-silence", "a node that falls silent has lost nothing", _trusts_silence),
    Variant(11, "forgets-deferred", "a notify during an outage is dropped", _forgets_deferred),
    Variant(11, "overflows-unsaid", "keys beyond the bound are dropped without an order", _overflows_unsaid),
)
