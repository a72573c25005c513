"""A fence in seeded worlds: rows that are made anew, replicas that are behind, notifies that get lost."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from entity_sync.core.fence import Fence
from entity_sync.core.loaded import Loaded, LoadedRow

LAG = 2.0
_BUSY, _CALM = 20.0, 60.0
_GONE = Loaded((), gone=True)


class World:
    """One row, its replicas, and the one view of it.

    Attributes:
        broken: the promises that were not kept.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.broken: list[str] = []
        self.fence = Fence(LAG)
        self._history: list[tuple[float, int | None]] = [(-_CALM, self.random.choice((None, 3)))]
        self._events = sorted(self._happens(), key=lambda event: event[0])
        self._shown = -1  # which state of the history
        self._seen = set[int]()
        self._reached = -1  # and since when that has looked the same
        self._is_there = False  # a revision was told since: there is a row
        self._as_of = -1.0
        self._asks = True

    def live(self) -> None:
        now = 0.0
        while now < _BUSY + _CALM:
            due = self._events[0][0] if self._events else _BUSY + _CALM
            if self._asks or self._as_of < self.fence.due <= due:
                now = self._load(now if self._asks else max(now, self.fence.due))
            else:
                now = max(now, due)
                self._hear(now)
        if self._shown != len(self._history) - 1:
            self.broken.append(f"ends with {self._told(self._shown)}, not {self._history[-1][1]}")

    def _happens(self) -> Iterator[tuple[float, str, int | None]]:
        """What the row goes through, and when which word of it comes; a lost one makes a gap; and when
        a load is asked for besides."""
        random, at, heard = self.random, 0.0, 0.0
        highest = newest = self._history[0][1] or 3
        losses, slowness = random.choice((0.0, 0.0, 0.3, 0.6)), random.choice((0.02, 0.5, 1.5))
        while (at := at + random.choice((random.uniform(0, 0.5), random.uniform(0, 6)))) < _BUSY:
            if self._history[-1][1] is None:
                newest = random.choice((1, highest + 1))
            elif random.random() < 0.3:
                self._history.append((at, None))
                heard = max(heard, at + random.uniform(0, slowness))
                yield (heard, "told", None) if random.random() >= losses else self._gap(heard)
                continue
            else:
                newest += 1
            highest = max(highest, newest)
            self._history.append((at, newest))
            heard = max(heard, at + random.uniform(0, slowness))
            told = (heard, "told", newest if random.random() < 0.8 else None)
            yield told if random.random() >= losses else self._gap(heard)
        for _ in range(random.choice((0, 10))):
            yield random.uniform(0, _BUSY), "asked", None

    def _gap(self, heard: float) -> tuple[float, str, None]:
        return heard + self.random.uniform(0, 4), "gap", None

    def _hear(self, now: float) -> None:
        while self._events and self._events[0][0] <= now:
            at, what, revision = self._events.pop(0)
            if what == "told":
                self.fence.change(revision, at)
                self._is_there |= revision is not None
            elif what == "gap":
                self.fence.lost(at)
            self._asks = True

    def _load(self, began: float) -> float:
        """One load, from some replica, which is followed by another where its result may not be shown."""
        self._asks = False
        seen = began - self.random.choice((0.0, self.random.uniform(0, LAG), 0.999 * LAG))
        ended = began + self.random.choice((0.001, 0.3))
        number = max(number for number, (at, _) in enumerate(self._history) if at <= seen)
        revision = self._history[number][1]
        result = _GONE if revision is None else Loaded((LoadedRow(b"1", b"1"),), revision=revision)
        self._hear(ended)
        if self.fence.judge(result, began, ended) is None:
            self._show(number, ended)
            self._as_of = began
        else:
            self._asks = True
            ended += 0.1
        return ended

    def _show(self, number: int, now: float) -> None:
        """Judge what follows what: a higher revision that was never shown is newer, for all one knows."""
        revision, shown = self._told(number), self._told(self._shown)
        is_newer = self._is_there if shown is None else (revision or 0) > shown and number not in self._seen
        if number < self._reached and revision not in (None, shown) and not is_newer:
            self.broken.append(f"{now:.2f}: went back from {shown} to {revision}")
        if revision != shown:
            self._reached, self._is_there = number, False
        self._shown = number
        self._seen.add(number)

    def _told(self, number: int) -> int | None:
        return self._history[number][1] if number >= 0 else None


def test_never_back_and_right_in_the_end():
    """Where no replica is further behind than the lag nothing older follows, and the newest state does."""
    found: dict[int, list[str]] = {}
    for seed in range(3_000):
        world = World(seed)
        world.live()
        if world.broken:
            found[seed] = world.broken
    assert found == {}


__all__ = ["World"]
