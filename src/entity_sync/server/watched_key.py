"""One key that a connection watches, or may not."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from entity_sync.core.subscription import Subscription
from entity_sync.model import EntityKey

__all__ = ["WatchedKey"]


@dataclass(slots=True, eq=False)
class WatchedKey:
    """Where it stands: asked about, watched or refused.

    Attributes:
        subscription: None while it is asked for the first time, and where it was refused.
        version: what the client holds of it, for the subscription to come.
        causes: whether the client wants to know which notifies a state covers.
        question: the running question whether the principal may see it.
        asked: the moment, in what the hub noted of changes, at which the first question began of those that
            had no answer; before all of them where it ended a subscription.
        is_refused: the client was told so.
        failures: how many questions in a row had no answer.
        is_moved: the subscription is an earlier principal's.
    """

    key: EntityKey
    version: str | None = None
    causes: bool = False
    subscription: Subscription | None = None
    question: asyncio.Task[None] | None = None
    asked: int = 0
    failures: int = 0
    is_refused: bool = False
    is_moved: bool = False
