"""What notifies in place of an application, and remembers it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any


class Told:
    """Remembers what it was to notify; fails where the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[Any], dict[str, list[str]] | None]] = []
        self.error: Exception | None = None

    def notify_soon(self, entity: str, *ids: object, tags: Mapping[str, Any] | None = None) -> Future[Any]:
        future: Future[Any] = Future()
        if self.error is not None:
            future.set_exception(self.error)
        else:
            future.set_result(None)
            self.calls.append((entity, list(ids), None if tags is None else dict(tags)))
        return future

    def take(self) -> list[tuple[str, list[Any], dict[str, list[str]] | None]]:
        calls, self.calls = self.calls, []
        return sorted(calls, key=repr)
