"""Telling what has been committed: whatever fails is in the log, and disturbs nobody who commits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from entity_sync.errors import BadId, NotRunning

__all__ = ["Notifying", "Telling"]

_log = logging.getLogger("entity_sync.capture")
_NAMED = 3  # ids that cannot be, in one line of the log


class Notifying(Protocol):
    """An `EntitySync`, or whatever else notifies without waiting."""

    def notify_soon(self, entity: str, *ids: object, tags: Mapping[str, Any] | None = None) -> Future[Any]:
        """Say that these keys changed."""
        ...


class Telling:
    """Tells one that notifies."""

    def __init__(self, sync: Notifying) -> None:
        self._sync = sync
        self._was_running = True  # or nobody has said yet that it is not

    def tell(self, entity: str, ids: Sequence[object], tags: Mapping[str, Any] | None) -> None:
        """Notify these keys; of ids that cannot be, the others."""
        try:
            try:
                self._notify(entity, ids, tags)
            except BadId:
                self._notify_each(entity, ids, tags)
        except NotRunning:
            if self._was_running:
                self._was_running = False
                _log.warning(
                    "a commit changed %d of %s while Entity Sync does not run in this process, so neither it "
                    "nor those that follow until the start are told. That is fine if no other node runs; "
                    "else enter 'async with sync' before the commits",
                    len(ids),
                    entity,
                )
        except Exception as error:  # noqa: BLE001 - the commit is done: whoever made it is not to blame
            _log.error("a commit changed %d of %s, and nobody was told: %s", len(ids), entity, error)

    def _notify(self, entity: str, ids: Sequence[object], tags: Mapping[str, Any] | None) -> None:
        self._sync.notify_soon(entity, *ids, tags=tags).add_done_callback(_report)
        self._was_running = True

    def _notify_each(self, entity: str, ids: Sequence[object], tags: Mapping[str, Any] | None) -> None:
        bad: list[object] = []
        reason: BadId | None = None
        for id in ids:
            try:
                self._notify(entity, [id], tags)
            except BadId as error:
                bad.append(id)
                reason = reason or error
        _log.error(
            "a commit changed %d of %s whose ids cannot be, and nobody was told: %s: %s",
            len(bad),
            entity,
            ", ".join([*map(repr, bad[:_NAMED]), *(["…"] if len(bad) > _NAMED else [])]),
            reason,
        )


def _report(told: Future[Any]) -> None:
    if not told.cancelled() and (error := told.exception()) is not None:
        _log.error("what a commit changed was not told: %s", error)
