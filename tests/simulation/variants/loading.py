"""Hubs that load wrongly: too often at once, too little, from replicas, or in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from math import inf
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from entity_sync.brokers.base import Message
from entity_sync.core import loadstate
from entity_sync.core.breaker import Breaker, BreakerAction
from entity_sync.core.fence import Fence
from entity_sync.core.loaded import Loaded
from entity_sync.core.loadstate import Cause, LoadEvent, LoadState
from entity_sync.core.subscription import V2Subscription
from entity_sync.core.view import View
from entity_sync.errors import LoadFailed
from entity_sync.hub import attempts, pacing
from entity_sync.hub.attempts import Attempts, Outcome
from entity_sync.hub.delays import Delays
from entity_sync.hub.link import Link
from entity_sync.hub.loads import Loads, _Run
from entity_sync.hub.outcomes import Outcomes
from entity_sync.hub.pacing import Pacing
from entity_sync.loading.loader import Loader
from entity_sync.model import Audience, Change, EntityKey
from tests.simulation.variants.variant import Variant


def _last_to_finish_wins() -> AbstractContextManager[Any]:
    async def in_thread(_entity: str, function: Callable[..., Any], *arguments: object) -> Any:
        return await asyncio.to_thread(function, *arguments)

    def trigger(self: Loads, view: View, cause: Cause) -> None:
        self.ticket += 1
        ticket = self.ticket

        async def load() -> None:
            loader = self._catalog[view.key.entity]
            try:
                result = await asyncio.wait_for(
                    loader.load(view.key, view.audience, in_thread, self._catalog.row), loader.timeout
                )
            except (LoadFailed, OSError, TimeoutError):
                trigger(self, view, cause)
                return
            view.state, view.begun, view.running_causes = LoadState.LOADING, ticket, cause
            news, _ = view.succeed(result)
            self._settled(view, news)

        unique: Any = _Unique(view)
        self._runs[unique] = _Run({view: None}, asyncio.get_running_loop().create_task(load()))

    return patch.object(Loads, "trigger", trigger)


class _Unique:
    """A key of its own for each of several loads of one view."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.triggered_at = view.triggered_at


def _notify_joins_running_load() -> AbstractContextManager[Any]:
    pair = (LoadState.LOADING, LoadEvent.TRIGGERED)
    return patch.dict(loadstate.TRANSITIONS, {pair: (LoadState.LOADING, loadstate.LoadAction.NOTHING)})


def _gives_up_after_failure() -> AbstractContextManager[Any]:
    def failed(self: Outcomes, view: View, _error: LoadFailed) -> None:
        if view.give_up() is loadstate.LoadAction.ENQUEUE:
            self._enqueue(view)

    return patch.object(Outcomes, "_failed", failed)


def _echo_loads() -> AbstractContextManager[Any]:
    opens = Link._open

    def echoing(self: Link, message: Message) -> None:
        opens(self, message)
        letter = self._envelope.open(message.topic, message.payload)
        if isinstance(letter, Change) and letter.origin and letter.origin.source == self.source:
            self._reactions.changed(letter)

    return patch.object(Link, "_open", echoing)


def _trusts_replicas() -> AbstractContextManager[Any]:
    return patch.object(Fence, "objects", lambda *_: None)


def _looks_once() -> AbstractContextManager[Any]:
    return patch.object(Fence, "doubt", lambda *_: -inf)


def _asks_any_replica() -> AbstractContextManager[Any]:
    late = property(lambda subscription: subscription.view.ticket > subscription.after)
    return patch.object(V2Subscription, "_is_late_enough", late)


def _counts_versions() -> AbstractContextManager[Any]:
    succeed = View.succeed

    def counting(self: View, loaded: Loaded) -> Any:
        before = self.loaded
        same = before is not None and content(before) == content(loaded)
        loaded = replace(loaded)  # that of a key that is gone is one object for all
        loaded._version = before.version if same and before else f"state {self.rev + 1}"
        return succeed(self, loaded)

    def content(loaded: Loaded) -> str:
        return Loaded(loaded.rows, gone=loaded.gone).version

    return patch.object(View, "succeed", counting)


def _never_times_out() -> AbstractContextManager[Any]:
    async def ends(task: asyncio.Task[Any], *_: object) -> bool:
        await asyncio.wait((task,))
        return True

    return patch.object(attempts, "ends", ends)


def _fails_in_silence() -> AbstractContextManager[Any]:
    return patch.object(Outcomes, "_note", lambda *_: None)


def _fails_together() -> AbstractContextManager[Any]:
    async def load(
        self: Attempts, loader: Loader, keys: Sequence[EntityKey], audience: Audience, _tried: int
    ) -> list[Outcome]:
        try:
            if loader.batch is None:
                return [await self._apart(loader, loader.load, key, audience) for key in keys]
            return list((await self._together(loader, audience, keys)).values())
        except LoadFailed as error:
            return [error] * len(keys)

    return patch.object(Attempts, "load", load)


def _breaks_for_ever() -> AbstractContextManager[Any]:
    return patch.object(Breaker, "elapsed", lambda *_, **__: BreakerAction.NOTHING)


def _heals_together() -> AbstractContextManager[Any]:
    settled = Pacing.settled

    def waiting(self: Pacing, view: View) -> None:
        if view.failure is None:
            settled(self, view)

    stack = ExitStack()
    stack.enter_context(patch.object(Pacing, "settled", waiting))
    stack.enter_context(patch.object(pacing, "_is_told", lambda _view: False))
    return stack


def _drops_the_last() -> AbstractContextManager[Any]:
    add = Delays.add

    def dropping(self: Delays, views: Iterable[View], seconds: float) -> None:
        is_pause = self._elapsed.__name__ == Loads._enqueue.__name__
        if not is_pause or any(view.attempts for view in views):
            add(self, views, seconds)

    return patch.object(Delays, "add", dropping)


LOADING = (
    Variant(
        2, "last-to-finish-wins", "a load for each notify, the last to finish is shown", _last_to_finish_wins
    ),
    Variant(
        2, "notify-joins-load", "single-flight: a notify joins the running load", _notify_joins_running_load
    ),
    Variant(3, "echo-loads", "a node loads again when its own message comes back", _echo_loads),
    Variant(4, "trusts-replicas", "what a replica gives is shown, whatever its revision", _trusts_replicas),
    Variant(4, "looks-once", "what no revision tells of is not looked for again", _looks_once),
    Variant(4, "asks-any-replica", "a subscriber with another version gets the next load", _asks_any_replica),
    Variant(5, "counts-versions", "a version is a node's own count of states", _counts_versions),
    Variant(10, "gives-up", "a failed load is not tried again", _gives_up_after_failure),
    Variant(10, "no-timeout", "a load may take for ever", _never_times_out),
    Variant(10, "fails-in-silence", "clients are not told that loads fail", _fails_in_silence),
    Variant(10, "fails-together", "a batch that raises is not halved", _fails_together),
    Variant(10, "breaks-for-ever", "an entity that failed too often is never tried again", _breaks_for_ever),
    Variant(10, "heals-together", "a gap ends only when all that it concerns was loaded", _heals_together),
    Variant(
        12, "drops-the-last", "a change within min_interval of the last load is dropped", _drops_the_last
    ),
)
