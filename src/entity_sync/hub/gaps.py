"""When messages were lost, and how often that may cost loads."""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import inf
from random import Random

from entity_sync.clock import Clock, Timer
from entity_sync.core.control import Beat
from entity_sync.core.sequences import Sequences
from entity_sync.model import Origin, Source

__all__ = ["Gaps"]

_STRANGE_INTERVAL = 60.0  # seconds between two reloads because of messages that nobody of ours can have sent
_SPREAD = 10.0  # seconds over which the nodes reload because one of them fell silent


class Gaps:
    """Has the entities loaded again of which a message is missing: each at most once an interval.

    Attributes:
        count: reloads so far.
    """

    def __init__(
        self,
        sequences: Sequences,
        clock: Clock,
        random: Random,
        interval: float,
        reload: Callable[[Collection[str]], None],
    ) -> None:
        """
        Args:
            interval: seconds between two reloads of one name.
            reload: loads all views of these names again.
        """
        self.count = 0
        self._sequences = sequences
        self._clock = clock
        self._random = random
        self._interval = interval
        self._reload = reload
        self._due: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._timer: Timer | None = None
        self._armed = inf

    def knows(self, source: Source) -> frozenset[str]:
        """The names on which a source that says when it speaks next has been heard."""
        return self._sequences.knows(source)

    def hear(self, name: str, origin: Origin) -> None:
        """A numbered message came."""
        self._sequences.hear(name, origin, self._clock.now())
        self._arm()

    def learn(self, beat: Beat) -> None:
        """A source told how far it has numbered."""
        self._sequences.learn(beat, self._clock.now())
        self._arm()

    def strange(self, name: str) -> None:
        """Something came that no node can have sent; what it stood in for may be lost."""
        self._suspect(name, self._clock.now(), _STRANGE_INTERVAL)
        self._arm()

    def ordered(self, names: Collection[str]) -> None:
        """Somebody could not keep which keys of these changed."""
        for name in names:
            self._suspect(name, self._clock.now(), self._interval)
        self._arm()

    def poll(self) -> None:
        """Look for sources that have fallen silent."""
        now = self._clock.now()
        for name in sorted(self._sequences.silent(now)):  # each draws its time: one order for one seed
            self._suspect(name, now + self._random.uniform(0, _SPREAD), self._interval)
        self._arm()

    def cover(self, names: Collection[str], at: float) -> None:
        """These names are loaded again at that time."""
        self._sequences.cover(names, at)
        for name in names:
            self._due.pop(name, None)

    def close(self) -> None:
        """Forget what is due."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._armed = None, inf

    def _suspect(self, name: str, at: float, interval: float) -> None:
        at = max(at, self._last.get(name, -inf) + interval)
        self._due[name] = min(at, self._due.get(name, inf))

    def _arm(self) -> None:
        now, due = self._clock.now(), min(self._due.values(), default=inf)
        if self._armed > now + self._sequences.grace:  # else no new hole can be due before
            due = min(due, self._sequences.deadline)
        if due < self._armed:
            if self._timer is not None:
                self._timer.cancel()
            self._armed = due
            self._timer = self._clock.call_later(max(0.0, due - now), self._fire)

    def _fire(self) -> None:
        self._timer, self._armed = None, inf
        now = self._clock.now()
        for name in self._sequences.check(now):
            self._suspect(name, now, self._interval)
        names = {name for name, at in self._due.items() if at <= now}
        for name in names:
            del self._due[name]
            self._last[name] = now
            self._sequences.settle(name)
        self._arm()
        if names:
            self.count += 1
            self._reload(names)
