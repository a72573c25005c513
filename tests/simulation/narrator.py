"""Tells what happens in a world, line by line with its virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from entity_sync.hub.link import Link
from entity_sync.hub.loads import Loads
from entity_sync.hub.node import Node
from entity_sync.hub.outcomes import Outcomes
from tests.simulation.client import SimulatedClient

_Tell = Callable[..., str]


def _rows(rows: Any) -> str:
    return "gone" if rows is None else " ".join(row.data.decode()[:60] for row in rows) or "nothing"


_TOLD: tuple[tuple[type, str, _Tell], ...] = (
    (SimulatedClient, "take", lambda client, _link, frame: f"{client.name} < {frame.payload.decode()[:200]}"),
    (SimulatedClient, "_send", lambda client, message: f"{client.name} > {message}"),
    (Node, "notify", lambda node, keys, *_: f"node {node.id[:4]} notifies {', '.join(map(str, keys))}"),
    (Link, "_take", lambda link, delivery: f"link {link.source.publisher[:4]} gets {delivery}"),
    (
        Loads,
        "trigger",
        lambda _loads, view, cause: f"view {view.number} {view.key} {view.state.value}: {cause}",
    ),
    (
        Outcomes,
        "_succeeded",
        lambda _outcomes, view, result: f"view {view.number} loaded {_rows(result.rows)}",
    ),
    (Outcomes, "_failed", lambda _, view, error: f"view {view.number} failed: {error}"),
)


@contextmanager
def narrated() -> Iterator[None]:
    """Print while inside."""
    with ExitStack() as stack:
        for owner, name, tell in _TOLD:
            stack.enter_context(patch.object(owner, name, _telling(getattr(owner, name), tell)))
        yield


def _telling(method: Callable[..., Any], tell: _Tell) -> Callable[..., Any]:
    def wrapper(*arguments: Any) -> Any:
        print(f"{asyncio.get_running_loop().time():8.3f}  {tell(*arguments)}")
        return method(*arguments)

    return wrapper
