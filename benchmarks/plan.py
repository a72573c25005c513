"""What a measured server is; it imports nothing of Entity Sync, so that a child can choose which tree to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["BaselinePlan", "Plan", "ShopPlan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Any server.

    Attributes:
        serve: ``module:function`` that runs it, given a pipe to the parent and the plan.
        uvloop: which event loop.
        row_bytes: of one row as JSON.
        source: a directory to import Entity Sync from, for comparisons of two trees.
    """

    serve: ClassVar[str]
    uvloop: bool = True
    row_bytes: int = 300
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopPlan(Plan):
    """Entity Sync.

    Attributes:
        door: ``direct``, or ``asgi`` under uvicorn with its sans-I/O WebSockets.
        load_seconds: what a loader waits for its database.
    """

    serve = "benchmarks.shop:serve_shop"
    door: str = "direct"
    load_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselinePlan(Plan):
    """What Entity Sync is compared with.

    Attributes:
        kind: ``floor`` (`asyncio.Protocol` that writes a ready frame), ``websockets`` (its
            `broadcast`), or ``uvicorn`` (an ASGI application that awaits each send in turn).
    """

    serve = "benchmarks.baseline:serve_baseline"
    kind: str
