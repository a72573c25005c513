"""The last differences between a view's states, for sessions that hold one of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec

from entity_sync.core import v2
from entity_sync.core.delta import difference
from entity_sync.core.frame import Frame
from entity_sync.core.loaded import Loaded
from entity_sync.core.messages import Delta

__all__ = ["History"]

_KEPT = 8  # deltas for those who missed some
_AROUND = 150  # bytes of a snapshot besides its rows, about
_WORTH = 256  # bytes of rows below which a delta saves a few dozen bytes and costs more work than it is worth


class _Step(msgspec.Struct, gc=False):
    """A delta, and the one before it. No tuple of all: each change would make another for every view, and as
    many as it frees, so that Python collects none until a collection has to look at tens of thousands.
    """

    delta: Frame
    before: _Step | None


class History:
    """A few deltas, each worked out when the first session asks for it, and encoded once."""

    __slots__ = ("_newest", "_number", "_previous")

    def __init__(self, number: int) -> None:
        """
        Args:
            number: names the view on the wire.
        """
        self._number = number
        self._previous: Loaded | None = None
        self._newest: _Step | None = None

    @property
    def is_due(self) -> bool:
        """Whether the newest delta is still to be worked out."""
        return self._previous is not None

    @property
    def held(self) -> int:
        """Bytes of memory."""
        previous = 0 if self._previous is None else self._previous.held
        return previous + sum(delta.held for delta in self._deltas())

    def leave(self, state: Loaded | None) -> None:
        """The next rev follows this state, or one that is not known any more."""
        if state is None or self._previous is not None:
            self._newest = None  # nobody asked for the last delta, so nobody goes on from before it
        self._previous = state

    def since(self, rev: int, newest: int, loaded: Loaded) -> list[Frame]:
        """The deltas from ``rev`` to the newest rev, whose state is ``loaded``.

        Returns:
            nothing where they are not known, or are more bytes than the state whole.
        """
        size = loaded.size
        if size < _WORTH:
            self._previous = self._newest = None
            return []
        about = _AROUND + size
        self._work_out(newest, loaded, about)
        missed = newest - rev
        chain = list(islice(self._deltas(), max(0, missed)))
        is_whole = len(chain) == missed and sum(map(len, chain)) < about
        return chain[::-1] if is_whole else []

    def _deltas(self) -> Iterator[Frame]:
        """The newest first."""
        step = self._newest
        while step is not None:
            yield step.delta
            step = step.before

    def _work_out(self, rev: int, loaded: Loaded, about: int) -> None:
        previous, self._previous = self._previous, None
        if previous is None:
            return
        found = difference(previous, loaded)
        if found is None:
            self._newest = None
            return
        drop, patch, put, order = found
        version = loaded.version
        frame = v2.frame(
            Delta(
                view=self._number,
                base=rev - 1,
                rev=rev,
                version=version,
                drop=drop,
                patch=patch,
                put=put,
                order=order,
            )
        )
        self._newest = _Step(frame, self._newest) if len(frame) < about else None
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        step = self._newest
        for _ in range(_KEPT - 1):
            step = None if step is None else step.before
        if step is not None:
            step.before = None
