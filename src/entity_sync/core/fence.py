"""Least revisions: a load that read a replica behind them is not shown."""

from __future__ import annotations

from entity_sync.core.loaded import Loaded

__all__ = ["Fence"]


class Fence:
    """What is known of one view's revision: the application's own ordered number of its row."""

    __slots__ = ("_is_certain", "_least", "_may_restart")

    def __init__(self) -> None:
        self._least = 0
        self._is_certain = False  # the newest change said its revision, so the row is not gone
        self._may_restart = False  # the one before said none: a row that was deleted begins anew

    def change(self, revision: int | None) -> None:
        """A change was told, with its revision, or without: then it may have been a deletion."""
        self._is_certain = revision is not None
        if revision is not None:
            self._least = revision if self._may_restart else max(self._least, revision)
        self._may_restart = revision is None

    def doubt(self) -> None:
        """Changes may have been lost."""
        self._is_certain = False

    def objects(self, result: Loaded) -> str | None:
        """Why a result is too old to be shown, None where it is not."""
        if result.gone:
            return f"nothing, and revision {self._least} was notified" if self._is_certain else None
        if result.revision is None or result.revision >= self._least:
            return None
        return f"revision {result.revision}, after {self._least}"

    def shown(self, result: Loaded) -> None:
        """This is what is shown from now on: nothing older may follow."""
        if result.gone:
            self._least = 0
        elif result.revision is not None:
            self._least = max(self._least, result.revision)
