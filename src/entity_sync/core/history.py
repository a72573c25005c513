"""The last differences between a view's states, for sessions that hold one of them."""

from __future__ import annotations

from entity_sync.core import v2
from entity_sync.core.delta import difference
from entity_sync.core.frame import Frame
from entity_sync.core.loaded import Loaded
from entity_sync.core.messages import Delta

__all__ = ["History"]

_KEPT = 8  # deltas for those who missed some
_AROUND = 150  # bytes of a snapshot besides its rows, about
_WORTH = 256  # bytes of rows below which a delta saves a few dozen bytes and costs more work than it is worth


class History:
    """A short ring of deltas, each worked out when the first session asks for it, and encoded once."""

    __slots__ = ("_deltas", "_number", "_previous")

    def __init__(self, number: int) -> None:
        """
        Args:
            number: names the view on the wire.
        """
        self._number = number
        self._previous: Loaded | None = None
        self._deltas: tuple[Frame, ...] = ()

    @property
    def is_due(self) -> bool:
        """Whether the newest delta is still to be worked out."""
        return self._previous is not None

    @property
    def held(self) -> int:
        """Bytes of memory."""
        previous = 0 if self._previous is None else self._previous.held
        return previous + sum(frame.held for frame in self._deltas)

    def leave(self, state: Loaded | None) -> None:
        """The next rev follows this state, or one that is not known any more."""
        if state is None or self._previous is not None:
            self._deltas = ()  # nobody asked for the last delta, so nobody goes on from before it
        self._previous = state

    def since(self, rev: int, newest: int, loaded: Loaded) -> list[Frame]:
        """The deltas from ``rev`` to the newest rev, whose state is ``loaded``.

        Returns:
            nothing where they are not known, or are more bytes than the state whole.
        """
        size = loaded.size
        if size < _WORTH:
            self._previous, self._deltas = None, ()
            return []
        about = _AROUND + size
        self._work_out(newest, loaded, about)
        missed = newest - rev
        chain = self._deltas[-missed:] if 0 < missed <= len(self._deltas) else ()
        return list(chain) if sum(map(len, chain)) < about else []

    def _work_out(self, rev: int, loaded: Loaded, about: int) -> None:
        previous, self._previous = self._previous, None
        if previous is None:
            return
        found = difference(previous, loaded)
        if found is None:
            self._deltas = ()
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
        self._deltas = (*self._deltas[1 - _KEPT :], frame) if len(frame) < about else ()
