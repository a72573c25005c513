"""Hubs that tell clients too little or too much: slow ones, and those who may not see it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from entity_sync.core.outbox import Mark
from entity_sync.core.subscription import V2Subscription
from entity_sync.core.view import View
from entity_sync.hub.fanout import Fanout
from entity_sync.hub.hub import Hub
from entity_sync.hub.principals import Principals
from entity_sync.server.connection import Connection
from entity_sync.server.watching import Watching
from tests.simulation.variants.variant import Variant


def _slow_reader_misses() -> AbstractContextManager[Any]:
    mark = Fanout.mark

    def forgetful(self: Fanout, news: Mark) -> None:
        if not news.outbox.blocked:
            mark(self, news)

    return patch.object(Fanout, "mark", forgetful)


def _queues_for_the_slow() -> AbstractContextManager[Any]:
    mark = Fanout.mark

    def queueing(self: Fanout, news: Mark) -> None:
        if news.outbox.blocked:
            for frame in news.take(0.0):
                news.outbox.put(frame)
        mark(self, news)

    return patch.object(Fanout, "mark", queueing)


def _waits_for_ever() -> AbstractContextManager[Any]:
    return patch.object(Connection, "_too_slow", lambda _self: None)


def _never_recalls() -> AbstractContextManager[Any]:
    return patch.object(View, "recall", lambda _self: None)


def _keeps_rows_of_old_principal() -> AbstractContextManager[Any]:
    def rebind(self: Hub, subscription: Any, _principal: object) -> Any:
        subscription.ask_again() if isinstance(subscription, V2Subscription) else None
        self.fanout.mark(subscription)
        return subscription

    return patch.object(Hub, "rebind", rebind)


def _trusts_principals() -> AbstractContextManager[Any]:
    return patch.object(Principals, "doubt", lambda _self: None)


def _asks_once() -> AbstractContextManager[Any]:
    return patch.object(Watching, "reauthorize", lambda _self, **_options: None)


def _ends_nobody() -> AbstractContextManager[Any]:
    return patch.object(Connection, "end", lambda _self: None)


def _denies_in_silence() -> AbstractContextManager[Any]:
    refuse = Watching._refuse

    def silent(self: Watching, watched: Any) -> None:
        watched.is_refused = True
        refuse(self, watched)

    return patch.object(Watching, "_refuse", silent)


def _fails_open() -> AbstractContextManager[Any]:
    return patch.object(Watching, "withhold", lambda _self: None)


TELLING = (
    Variant(8, "slow-reader-misses", "what happens while a reader is slow is lost", _slow_reader_misses),
    Variant(8, "queues-for-the-slow", "every state waits for a slow reader", _queues_for_the_slow),
    Variant(8, "waits-for-ever", "a reader that stopped is never closed", _waits_for_ever),
    Variant(8, "never-recalls", "rows that were given up for others are not loaded again", _never_recalls),
    Variant(9, "keeps-principal", "a new principal keeps the old one's views", _keeps_rows_of_old_principal),
    Variant(9, "trusts-principals", "after a gap nobody is asked who they are", _trusts_principals),
    Variant(9, "asks-once", "what a principal may see is asked once", _asks_once),
    Variant(9, "ends-nobody", "a revoked principal keeps what it watches", _ends_nobody),
    Variant(9, "denies-in-silence", "a client is not told to drop its copy", _denies_in_silence),
    Variant(9, "fails-open", "with fail_closed, states flow while the broker is away", _fails_open),
)
