"""Telling what has been committed: whatever fails is in the log, and disturbs nobody who commits."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, runtime_checkable

from entity_sync.errors import BadId, NotRunning

__all__ = ["Changed", "Checking", "Notifying", "Telling"]

_log = logging.getLogger("entity_sync.capture")
_NAMED = 3  # ids that cannot be, in one line of the log


class Changed(NamedTuple):
    """Keys of one entity that changed, with the same tags.

    Attributes:
        entity, ids, tags: as for a notify.
    """

    entity: str
    ids: Sequence[object]
    tags: Mapping[str, Any] | None


class Notifying(Protocol):
    """An `EntitySync`, or whatever else notifies without waiting; that gives no receipts of commits."""

    def notify_soon(self, entity: str, *ids: object, tags: Mapping[str, Any] | None = None) -> Future[Any]:
        """Say that these keys changed."""
        ...


@runtime_checkable
class Checking(Protocol):
    """An `EntitySync`: it knows its entities, and checks at its start that it does."""

    def will_notify(self, *entities: str) -> None:
        """Of these keys will be notified."""
        ...

    def keys_of(self, entity: str, ids: Sequence[object]) -> object:
        """The keys of these ids; it raises where they cannot be."""
        ...

    def notify_together(self, changed: Sequence[Changed], token: str) -> Future[Any]:
        """Say that all these changed, under one token; or nothing, if it raises."""
        ...


class Telling:
    """Tells one that notifies."""

    def __init__(self, sync: Notifying) -> None:
        self._sync = sync
        self._was_running = True  # or nobody has said yet that it is not

    def tell(self, changed: Sequence[Changed], token: str) -> Future[Any] | None:
        """Notify these keys; of those that cannot be, the others.

        Args:
            token: names the notify.

        Returns:
            its receipt, from an `EntitySync` that was told.
        """
        try:
            return self._tell(changed, token)
        except NotRunning:
            self._warn_of_not_running(changed[0])
            return None

    def tell_again(self, changed: Sequence[Changed], token: str) -> None:
        """The same once more; who has stopped since then is to blame for nothing."""
        with suppress(NotRunning):
            self._tell(changed, token)

    def _tell(self, changed: Sequence[Changed], token: str) -> Future[Any] | None:
        if isinstance(self._sync, Checking):
            return self._tell_together(self._sync, changed, token)
        for one in changed:
            self._tell_one(one)
        return None

    def _tell_together(self, sync: Checking, changed: Sequence[Changed], token: str) -> Future[Any] | None:
        told: Future[Any] | None = None
        try:
            try:
                told = sync.notify_together(changed, token)
            except NotRunning:
                raise
            except Exception:  # noqa: BLE001 - which of them cannot be is in the log
                if possible := list(_possible(sync, changed)):
                    told = sync.notify_together(possible, token)
        except NotRunning:
            raise
        except Exception as error:  # noqa: BLE001 - the commit is done: whoever made it is not to blame
            for one in changed:
                _report_refused(one, error)
        if told is not None:
            told.add_done_callback(_report)
            self._was_running = True
        return told

    def _tell_one(self, changed: Changed) -> None:
        try:
            try:
                self._notify(changed)
            except BadId:
                self._notify_each(changed)
        except NotRunning:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            _report_refused(changed, error)

    def _notify(self, changed: Changed) -> None:
        told = self._sync.notify_soon(changed.entity, *changed.ids, tags=changed.tags)
        told.add_done_callback(_report)
        self._was_running = True

    def _notify_each(self, changed: Changed) -> None:
        bad: list[tuple[object, BadId]] = []
        for id in changed.ids:
            try:
                self._notify(changed._replace(ids=[id]))
            except BadId as error:
                bad.append((id, error))
        _report_bad(changed.entity, bad)

    def _warn_of_not_running(self, changed: Changed) -> None:
        if self._was_running:
            self._was_running = False
            _log.warning(
                "a commit changed %d of %s while Entity Sync does not run in this process, so neither it "
                "nor those that follow until the start are told. That is fine if no other node runs; "
                "else enter 'async with sync' before the commits",
                len(changed.ids),
                changed.entity,
            )


def _possible(sync: Checking, changed: Sequence[Changed]) -> Iterator[Changed]:
    """Of these what can be notified; the rest is in the log."""
    for one in changed:
        bad: list[tuple[object, BadId]] = []
        good: list[object] = []
        try:
            for id in one.ids:
                try:
                    sync.keys_of(one.entity, [id])
                    good.append(id)
                except BadId as error:
                    bad.append((id, error))
        except Exception as error:  # noqa: BLE001 - as above
            _report_refused(one, error)
            continue
        _report_bad(one.entity, bad)
        if good:
            yield one._replace(ids=good)


def _report(told: Future[Any]) -> None:
    if not told.cancelled() and (error := told.exception()) is not None:
        _log.error("what a commit changed was not told: %s", error)


def _report_refused(changed: Changed, error: Exception) -> None:
    _log.error("a commit changed %d of %s, and nobody was told: %s", len(changed.ids), changed.entity, error)


def _report_bad(entity: str, bad: Sequence[tuple[object, BadId]]) -> None:
    if bad:
        _log.error(
            "a commit changed %d of %s whose ids cannot be, and nobody was told: %s: %s",
            len(bad),
            entity,
            ", ".join([*(repr(id) for id, _ in bad[:_NAMED]), *(["…"] if len(bad) > _NAMED else [])]),
            bad[0][1],
        )
