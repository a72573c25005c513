"""Wrong hubs: each breaks one rule of the algorithm, and the simulation must catch every one.

The first seven are the rows of the race table (docs/guarantee.md); the others break rules
that the table's single-node world cannot see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from entity_sync.core import loadstate
from entity_sync.core.backlog import Backlog
from entity_sync.core.index import Index
from entity_sync.core.loaded import Loaded
from entity_sync.core.loadstate import Cause, LoadEvent, LoadState
from entity_sync.core.outbox import Mark
from entity_sync.core.recent import Recent
from entity_sync.core.subscription import V2Subscription
from entity_sync.core.view import View
from entity_sync.errors import LoadFailed
from entity_sync.hub.echo import Echo
from entity_sync.hub.fanout import Fanout
from entity_sync.hub.gaps import Gaps
from entity_sync.hub.hub import Hub
from entity_sync.hub.loads import Loads, _Run
from entity_sync.hub.outgoing import Outgoing
from entity_sync.hub.principals import Principals
from entity_sync.model import Change
from entity_sync.server.connection import Connection
from entity_sync.server.watching import Watching
from tests.simulation.world import Habits


@dataclass(frozen=True)
class Variant:
    """A wrong hub, or a wrong habit of the application."""

    name: str
    what: str
    applied: Callable[[], AbstractContextManager[Any]] = nullcontext
    habits: Habits = field(default_factory=Habits)


def _no_state_on_subscribe() -> AbstractContextManager[Any]:
    def ask(self: Hub, subscription: V2Subscription, version: str | None) -> None:
        subscription.ask(version)
        self.fanout.mark(subscription)

    return patch.object(Hub, "ask", ask)


def _load_then_register() -> AbstractContextManager[Any]:
    def changed(self: Hub, change: Change) -> None:
        for view in (*self.views.of(change.key), *self.views.depending(change)):
            if view.loaded is not None:
                self.loads.trigger(view, Cause.NOTIFY)

    return patch.object(Hub, "changed", changed)


def _last_to_finish_wins() -> AbstractContextManager[Any]:
    def trigger(self: Loads, view: View, cause: Cause) -> None:
        self.ticket += 1
        ticket = self.ticket

        async def load() -> None:
            loader = self._catalog[view.key.entity]
            try:
                result = await asyncio.wait_for(
                    loader.load(view.key, view.audience, asyncio.to_thread, self._catalog.row), loader.timeout
                )
            except (LoadFailed, OSError, TimeoutError):
                trigger(self, view, cause)
                return
            view.state, view.running, view.running_causes = LoadState.LOADING, ticket, cause
            news, _ = view.succeed(result)
            self._settled(view, news)

        unique: Any = _Unique(view)
        self._runs[unique] = _Run({view: None}, asyncio.get_running_loop().create_task(load()))

    return patch.object(Loads, "trigger", trigger)


class _Unique:
    """A key of its own for each of several loads of one view."""

    def __init__(self, view: View) -> None:
        self.view = view


def _notify_joins_running_load() -> AbstractContextManager[Any]:
    pair = (LoadState.LOADING, LoadEvent.TRIGGERED)
    return patch.dict(loadstate.TRANSITIONS, {pair: (LoadState.LOADING, loadstate.LoadAction.NOTHING)})


def _no_resync_after_gap() -> AbstractContextManager[Any]:
    def resync(self: Hub, _entities: object = None) -> None:
        self._resync.add(())

    return patch.object(Hub, "resync", resync)


def _answers_from_live_view() -> AbstractContextManager[Any]:
    def ask(self: Hub, subscription: V2Subscription, version: str | None) -> None:
        subscription.ask(version)
        if subscription.view.loaded is None:
            self.loads.trigger(subscription.view, Cause.SUBSCRIBE)
        self.fanout.mark(subscription)

    return patch.object(Hub, "ask", ask)


def _joins_running_load() -> AbstractContextManager[Any]:
    def ask(self: Hub, subscription: V2Subscription, version: str | None) -> None:
        view = subscription.view
        subscription.ask(version)
        if view.loaded is None or version not in (None, view.version):
            subscription.after = view.ticket
            if view.state is LoadState.IDLE:
                self.loads.trigger(view, Cause.SUBSCRIBE)
            else:
                view.running_causes |= Cause.SUBSCRIBE
        self.fanout.mark(subscription)

    return patch.object(Hub, "ask", ask)


def _keeps_rows_of_old_principal() -> AbstractContextManager[Any]:
    def rebind(self: Hub, subscription: Any, _principal: object) -> Any:
        subscription.ask_again() if isinstance(subscription, V2Subscription) else None
        self.fanout.mark(subscription)
        return subscription

    return patch.object(Hub, "rebind", rebind)


def _slow_reader_misses() -> AbstractContextManager[Any]:
    mark = Fanout.mark

    def forgetful(self: Fanout, news: Mark) -> None:
        if not news.outbox.blocked:
            mark(self, news)

    return patch.object(Fanout, "mark", forgetful)


def _gives_up_after_failure() -> AbstractContextManager[Any]:
    def failed(self: Loads, view: View, _error: LoadFailed) -> None:
        if view.give_up() is loadstate.LoadAction.ENQUEUE:
            self._enqueue(view)

    return patch.object(Loads, "_failed", failed)


def _forgets_deferred() -> AbstractContextManager[Any]:
    return patch.object(Backlog, "keep", lambda _self, _changes: None)


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


def _watches_no_rows() -> AbstractContextManager[Any]:
    return patch.object(Loaded, "dependencies", frozenset[Any]())


def _reads_without_trace() -> AbstractContextManager[Any]:
    return patch.object(Index, "_readers", lambda _index, _change: iter(()))


def _trusts_new_dependencies() -> AbstractContextManager[Any]:
    return patch.object(Recent, "concerns", lambda *_: False)


def _resyncs_own_entities() -> AbstractContextManager[Any]:
    return patch.object(View, "concerns", lambda view, entities: view.key.entity in entities)


def _trusts_principals() -> AbstractContextManager[Any]:
    return patch.object(Principals, "doubt", lambda _self: None)


def _asks_once() -> AbstractContextManager[Any]:
    return patch.object(Watching, "reauthorize", lambda _self, **_options: None)


def _ends_nobody() -> AbstractContextManager[Any]:
    return patch.object(Connection, "end", lambda _self: None)


def _sends_while_undecided() -> AbstractContextManager[Any]:
    def on_authenticate(self: Connection, effect: Any) -> None:
        original(self, effect)
        self.outbox.suspended = False

    original = Connection._on_authenticate
    effects = {kind: handler for kind, handler in _effects().items() if handler is original}
    return patch.dict(_effects(), dict.fromkeys(effects, on_authenticate))


def _effects() -> dict[type, Any]:
    from entity_sync.server import connection

    return connection._EFFECTS


@contextmanager
def _both(*managers: AbstractContextManager[Any]) -> Iterator[None]:
    with managers[0], managers[1]:
        yield


WRONG = (
    Variant("no-state-on-subscribe", "the original: nothing is loaded at subscribe", _no_state_on_subscribe),
    Variant(
        "load-then-register",
        "the snapshot is loaded before the subscription is registered",
        _load_then_register,
    ),
    Variant(
        "last-to-finish-wins", "a load for each notify, the last to finish is shown", _last_to_finish_wins
    ),
    Variant(
        "notify-joins-load", "single-flight: a notify joins the running load", _notify_joins_running_load
    ),
    Variant("no-resync", "nothing is loaded again after a gap", _no_resync_after_gap),
    Variant(
        "resync-too-early",
        "resync on reconnect, before the subscription is confirmed, and nothing to find out",
        _hears_no_numbers,
        habits=Habits(restores_early=True),
    ),
    Variant(
        "answers-from-live-view",
        "a subscriber with another version is shown the view's rows",
        _answers_from_live_view,
    ),
    Variant(
        "joins-running-load", "a subscriber with another version joins the running load", _joins_running_load
    ),
    Variant("keeps-principal", "a new principal keeps the old one's views", _keeps_rows_of_old_principal),
    Variant("slow-reader-misses", "what happens while a reader is slow is not marked", _slow_reader_misses),
    Variant("gives-up", "a failed load is not tried again", _gives_up_after_failure),
    Variant("forgets-deferred", "a notify during an outage is dropped", _forgets_deferred),
    Variant("no-numbers", "a number that is missing means nothing", _hears_no_numbers),
    Variant("no-last-numbers", "who falls quiet does not tell how far it got", _tells_no_last_numbers),
    Variant("no-echo", "a node does not listen to itself", _does_not_hear_itself),
    Variant("trusts-silence", "a node that falls silent has lost nothing", _trusts_silence),
    Variant("watches-no-rows", "a row that rides along is not a dependency", _watches_no_rows),
    Variant("no-live-queries", "what a loader read is not watched", _reads_without_trace),
    Variant(
        "trusts-new-rows",
        "what changed while a load found its dependencies is not looked for",
        _trusts_new_dependencies,
    ),
    Variant(
        "resync-by-key",
        "after a gap the views of an entity are loaded, not those that hold its rows",
        _resyncs_own_entities,
    ),
    Variant("trusts-principals", "after a gap nobody is asked who they are", _trusts_principals),
    Variant("asks-once", "what a principal may see is asked once", _asks_once),
    Variant("ends-nobody", "a revoked principal keeps what it watches", _ends_nobody),
)
"""Each must be caught within 1,000 worlds, whatever the seed."""

MISUSED = (
    Variant(
        "notify-before-commit",
        "the application notifies before it commits",
        habits=Habits(notifies_before_commit=True),
    ),
    Variant(
        "crash-after-commit",
        "a writer dies between commit and notify",
        habits=Habits(crashes_after_commit=True),
    ),
    Variant(
        "new-tags-only",
        "a notify names where a row is, and not where it was",
        habits=Habits(forgets_old_tags=True),
    ),
)
"""What no hub can make up for, and an application must not do."""
