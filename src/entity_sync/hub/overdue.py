"""Views whose load has been due for long, and has not ended: whoever watches them is told so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from entity_sync.clock import Clock
from entity_sync.core.loadstate import LoadState
from entity_sync.core.view import View
from entity_sync.hub.loads import Loads
from entity_sync.hub.pacing import Pacing
from entity_sync.settings import Settings

__all__ = ["Overdue"]

_INTERVAL = 1.0
_log = logging.getLogger("entity_sync.loads")


class Overdue:
    """Looks from time to time for what no load has answered for so long that clients have to doubt it.

    A load that fails is told after its last attempt. One that hangs, has no place or is paced behind
    very many may be due for longer than `Settings.stale_after`, while beats say that all is current.
    """

    def __init__(
        self,
        clock: Clock,
        settings: Settings,
        loads: Loads,
        paced: Sequence[Pacing],
        settled: Callable[[View, bool], None],
    ) -> None:
        """
        Args:
            settled: called with a view whose failure is to be told.
        """
        self._clock = clock
        self._interval = min(_INTERVAL, settings.stale_after - settings.beat_interval)
        self._patience = settings.stale_after - self._interval
        self._loads = loads
        self._paced = paced
        self._settled = settled
        self._looks = 0  # in a row that found some

    async def run(self, is_certain: Callable[[], bool]) -> None:
        """Look for ever.

        Args:
            is_certain: says whether all that was published has been heard; else every client has been told.
        """
        while True:
            await self._clock.sleep(self._interval)
            if is_certain():
                self._tell()

    def _tell(self) -> None:
        """Tell of each view once, until a load of it succeeds."""
        before = self._clock.now() - self._patience
        late = {view: None for view in self._due_since(before) if view.failure is None}
        for view in late:
            view.fail("load", "its load has not ended")
            self._settled(view, True)
        self._looks = self._looks + 1 if late else 0
        if self._looks.bit_count() == 1:  # 1, 2, 4, 8 … in a row: an overload cannot fill the log
            what = "%d views wait for a load since %g s, the first: %s"
            _log.warning(what, len(late), self._patience, next(iter(late)).key)

    def _due_since(self, before: float) -> Iterator[View]:
        yield from self._loads.overdue(before)
        for pacing in self._paced:
            for view, since in pacing.overdue(before):
                if view.state is LoadState.IDLE:
                    view.triggered_at = since
                    yield view
