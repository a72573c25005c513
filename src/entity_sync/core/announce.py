"""What one source says: its changes numbered, and how far it has numbered them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from entity_sync.core.control import Beat, Order
from entity_sync.core.envelope import CONTROL
from entity_sync.model import Change, Origin, Source

__all__ = ["Announcer"]

_NAMES_PER_BEAT = 36  # of 64 characters each, they stay within the size of one message


@dataclass(slots=True)
class _Counter:
    """Attributes: the last number, when it was drawn (seconds), and the last number a beat told."""

    seq: int = 0
    at: float = 0.0
    told: int = 0


class Announcer:
    """One life of one publisher: numbers what it says on each topic, from 1.

    Attributes:
        source: who it is; by it a node knows its own messages again.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._counters: dict[str, _Counter] = {}
        self._told = 0

    @property
    def has_spoken(self) -> bool:
        """Whether anything was numbered, so that somebody may miss something."""
        return bool(self._counters)

    def numbered(self, changes: Iterable[Change], now: float) -> list[Change]:
        """The changes with numbers, in order; one that has a number already keeps it."""
        return [change if change.origin is not None else self._with_number(change, now) for change in changes]

    def order(self, entities: Iterable[str], now: float) -> Order:
        """Tell every node to load all of these entities again."""
        _, seq, since = self._number(CONTROL, now)
        return Order(*self.source, seq, tuple(entities), since)

    def quiet(self, now: float, after: float) -> list[Beat]:
        """Beats for the names on which ``after`` seconds ago, or longer, the last word was said.

        Each such last number is told once: nothing that follows would show its loss.
        """
        names = [
            name
            for name, counter in self._counters.items()
            if counter.told < counter.seq and now - counter.at >= after
        ]
        return self._beats(names, now, None, is_last=False)

    def alive(self, now: float, interval: float) -> Beat:
        """A beat with the numbers of as many names as fit, by turns; the next follows after ``interval``."""
        names = list(self._counters)
        start, self._told = self._told, (self._told + _NAMES_PER_BEAT) % max(1, len(names))
        names = (names + names)[start : start + min(_NAMES_PER_BEAT, len(names))]
        return self._beat(names, now, interval, is_last=False)

    def bye(self, now: float) -> list[Beat]:
        """The last words: all numbers, since an earlier beat may be lost; nothing is expected any more."""
        names = list(self._counters)
        return self._beats(names, now, None, is_last=True) or [self._beat([], now, None, is_last=True)]

    def again(self, names: Iterable[str], now: float) -> None:
        """Messages numbered earlier go out only now, and stand for whatever changed until now."""
        for name in names:
            self._counters[name].at = now

    def _with_number(self, change: Change, now: float) -> Change:
        return replace(change, origin=self._number(change.key.entity, now))

    def _number(self, name: str, now: float) -> Origin:
        counter = self._counters.setdefault(name, _Counter())
        since = int((now - counter.at) * 1_000) if counter.seq else None
        counter.seq += 1
        counter.at = now
        return Origin(self.source, counter.seq, since)

    def _beats(self, names: list[str], now: float, interval: float | None, *, is_last: bool) -> list[Beat]:
        pages = [names[start : start + _NAMES_PER_BEAT] for start in range(0, len(names), _NAMES_PER_BEAT)]
        return [self._beat(page, now, interval, is_last=is_last and page is pages[-1]) for page in pages]

    def _beat(self, names: list[str], now: float, interval: float | None, *, is_last: bool) -> Beat:
        topics: dict[str, tuple[int, int]] = {}
        for name in names:
            counter = self._counters[name]
            counter.told = counter.seq
            topics[name] = (counter.seq, int((now - counter.at) * 1_000))
        next_ms = None if interval is None else round(interval * 1_000)
        return Beat(*self.source, topics, next_ms, is_last)
