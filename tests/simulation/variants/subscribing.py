"""Hubs that answer a subscriber wrongly."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from entity_sync.core.loadstate import Cause, LoadState
from entity_sync.core.subscription import V2Subscription
from entity_sync.hub.hub import Hub
from entity_sync.hub.node import Node
from entity_sync.model import Change
from tests.simulation.variants.variant import Variant


def _no_state_on_subscribe() -> AbstractContextManager[Any]:
    def ask(self: Hub, subscription: V2Subscription, version: str | None) -> None:
        subscription.ask(version)
        self.fanout.mark(subscription)

    return patch.object(Hub, "ask", ask)


def _load_then_register() -> AbstractContextManager[Any]:
    def changed(self: Hub, change: Change) -> int:
        for view in (*self.views.of(change.key), *self.views.depending(change)):
            if view.loaded is not None:
                self.loads.trigger(view, Cause.NOTIFY)
        return 0

    return patch.object(Hub, "changed", changed)


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


def _fresh_before_the_loads() -> AbstractContextManager[Any]:
    resync = Node._resync

    def hasty(self: Node, names: Collection[str] | None) -> None:
        self._stand(None)
        resync(self, names)

    return patch.object(Node, "_resync", hasty)


def _never_stale() -> AbstractContextManager[Any]:
    return patch.object(Node, "_lost", lambda _self: None)


def _loads_for_each_subscriber() -> AbstractContextManager[Any]:
    ask = Hub.ask

    def eager(self: Hub, subscription: V2Subscription, version: str | None) -> None:
        ask(self, subscription, version)
        self.loads.trigger(subscription.view, Cause.SUBSCRIBE)

    return patch.object(Hub, "ask", eager)


SUBSCRIBING = (
    Variant(
        1, "no-state-on-subscribe", "the original: nothing is loaded at subscribe", _no_state_on_subscribe
    ),
    Variant(
        1,
        "load-then-register",
        "the snapshot is loaded before the subscription is registered",
        _load_then_register,
    ),
    Variant(
        1,
        "answers-from-live-view",
        "a subscriber with another version is shown the view's rows",
        _answers_from_live_view,
    ),
    Variant(
        1,
        "joins-running-load",
        "a subscriber with another version joins the running load",
        _joins_running_load,
    ),
    Variant(
        1,
        "fresh-too-early",
        "clients are told fresh before the loads of a gap",
        _fresh_before_the_loads,
    ),
    Variant(1, "never-stale", "clients are not told that the broker is away", _never_stale),
    Variant(
        12, "load-per-subscriber", "a subscriber costs a load, whatever is there", _loads_for_each_subscriber
    ),
)
