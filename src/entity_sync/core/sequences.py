"""Which messages never came: the numbers of every source heard, on every name.

Brokers and their client libraries do not tell of all they lose. Each source numbers what it says on a
name from 1, and tells when it falls quiet how far it got; a number that stays unheard beyond a grace
(some brokers deliver out of order) means that something was lost. Centrifugo's position check and the
sequences of NATS JetStream follow the same thought; here it needs nothing of the broker.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from math import inf

from entity_sync.core.control import Beat
from entity_sync.model import Origin, Source

__all__ = ["Sequences"]

_MAX_SOURCES = 10_000
_MAX_HOLES = 3_000  # of one source on one name; what nsqd may have under way to one node is less
_MAX_HOLED = 100  # sources and names with holes at once
_UNTOLD_PATIENCE = 60.0  # seconds of silence of a source that never said when it would speak again
_BEATS_MISSED = 3


@dataclass(slots=True)
class _Track:
    """What was heard of one source on one name.

    Attributes:
        next: the lowest number that nobody has spoken of yet.
        edge: the lowest number spoken of, while it is open whether its predecessor matters.
        holes: numbers spoken of and not heard → when their grace ends, the earliest first.
        below: numbers heard below the edge → when their predecessors were published, at the latest.
    """

    next: int
    edge: int | None
    holes: dict[int, float] = field(default_factory=dict)
    below: dict[int, float] = field(default_factory=dict)

    def expect(self, end: int, deadline: float) -> None:
        """Every number below ``end`` should have come, or come by the deadline."""
        for number in range(self.next, end):
            self.holes[number] = deadline
        self.next = max(self.next, end)

    def hear(self, seq: int, predecessor: float, covered: float, deadline: float) -> None:
        """This number came; its predecessor was published at that time at the latest."""
        if self.edge is not None and seq < self.edge:
            self.below[seq] = predecessor
            return
        is_new = seq >= self.next or seq in self.holes
        self.expect(seq, deadline)
        self.next = max(self.next, seq + 1)
        self.holes.pop(seq, None)
        if is_new and seq == self.edge:
            self._lower(predecessor, covered, deadline)

    def _lower(self, predecessor: float, covered: float, deadline: float) -> None:
        """The edge was heard: its predecessor matters if it was published after what we loaded."""
        while self.edge is not None and predecessor >= covered:
            self.edge -= 1
            if self.edge not in self.below:
                self.holes[self.edge] = deadline
                return
            predecessor = self.below.pop(self.edge)
        self.edge = None
        self.below.clear()

    @property
    def due(self) -> float:
        """When the grace of its first hole ends."""
        return next(iter(self.holes.values()))

    def settle(self) -> None:
        """Nothing below `next` matters any more."""
        self.edge = None
        self.holes.clear()
        self.below.clear()


@dataclass(slots=True)
class _Life:
    """One source.

    Attributes:
        patience: seconds of silence that mean nothing.
        expires: when they are over.
        beats: it said when its next beat would come.
        is_told: no message came since its last beat, which told all its numbers.
        is_over: it said bye.
        tracks: what was heard of it, by name.
    """

    patience: float = _UNTOLD_PATIENCE
    expires: float = inf
    beats: bool = False
    is_told: bool = False
    is_over: bool = False
    tracks: dict[str, _Track] = field(default_factory=dict)

    @property
    def is_suspicious(self) -> bool:
        """Whether it may have died with messages on their way, when it has fallen silent."""
        return not self.is_over and (self.beats or not self.is_told)


class Sequences:
    """Hears every number, and says on which names something is missing.

    Attributes:
        grace: seconds that a number may come late.
    """

    def __init__(self, names: Collection[str], grace: float) -> None:
        """
        Args:
            names: what this node listens to; others do not matter to it.
        """
        self.grace = grace
        self._names = frozenset(names)
        self._covered = dict.fromkeys(self._names, -inf)
        self._lives: dict[Source, _Life] = {}
        self._holed: dict[tuple[Source, str], _Track] = {}
        self._overdue: set[str] = set()

    @property
    def sources(self) -> int:
        """How many sources are known."""
        return len(self._lives)

    def knows(self, source: Source) -> frozenset[str]:
        """The names on which this source was heard, if its silence would be noticed; else none."""
        life = self._lives.get(source)
        return frozenset(life.tracks) if life is not None and life.beats else frozenset()

    def cover(self, names: Collection[str], at: float) -> None:
        """What was published on these names before ``at`` will be loaded by later loads."""
        for name in self._names.intersection(names):
            self._covered[name] = at
            self.settle(name)
            for life in self._lives.values():
                life.tracks.pop(name, None)

    def settle(self, name: str) -> None:
        """All of this name is loaded again from now on: what is missing does not matter any more."""
        self._overdue.discard(name)
        for pair in [pair for pair in self._holed if pair[1] == name]:
            self._holed.pop(pair).settle()

    def hear(self, name: str, origin: Origin, now: float) -> None:
        """A numbered message came."""
        if name not in self._names:
            return
        source, seq, since = origin
        life = self._touch(source, now)
        life.is_told = False
        track = life.tracks.get(name)
        if track is None or self._leaps(name, track, seq):
            track = life.tracks[name] = _Track(seq, seq)
        predecessor = -inf if since is None else now - since / 1_000
        track.hear(seq, predecessor, self._covered[name], now + self.grace)
        self._note(source, name, track)

    def learn(self, beat: Beat, now: float) -> None:
        """A source told how far it has numbered."""
        life = self._touch(beat.source, now)
        life.is_told = True
        life.is_over = beat.bye
        if beat.next_ms is not None:
            life.beats = True
            life.patience = _BEATS_MISSED * beat.next_ms / 1_000
            life.expires = now + life.patience
        for name, (last, age) in beat.topics.items():
            if name not in self._names:
                continue
            track = life.tracks.get(name)
            if track is None or self._leaps(name, track, last):
                matters = last > 0 and now - age / 1_000 >= self._covered[name]
                track = _Track(last, last) if matters else _Track(last + 1, None)
                life.tracks[name] = track
            track.expect(last + 1, now + self.grace)
            self._note(beat.source, name, track)

    def check(self, now: float) -> set[str]:
        """The names on which a number is missing beyond its grace; each hole is told once."""
        names, self._overdue = self._overdue, set()
        for pair in [pair for pair, track in self._holed.items() if track.due <= now]:
            names.add(pair[1])
            self._holed.pop(pair).settle()
        return names

    def silent(self, now: float) -> set[str]:
        """Forget the sources that should have spoken by now; returns the names that may miss something."""
        names: set[str] = set()
        for source, life in [(s, life) for s, life in self._lives.items() if life.expires <= now]:
            if life.is_suspicious:
                names.update(life.tracks)
            self._forget(source)
        return names

    @property
    def deadline(self) -> float:
        """When `check` will find something, if nothing comes; infinity if never."""
        return -inf if self._overdue else min((track.due for track in self._holed.values()), default=inf)

    def _leaps(self, name: str, track: _Track, seq: int) -> bool:
        """No broker reorders so far: what is between was lost, or the number is forged."""
        leaps = abs(seq - track.next) > _MAX_HOLES
        if leaps:
            self._overdue.add(name)
        return leaps

    def _note(self, source: Source, name: str, track: _Track) -> None:
        if len(track.holes) > _MAX_HOLES:
            self._overdue.add(name)
            track.settle()
        if not track.holes:
            self._holed.pop((source, name), None)
            return
        self._holed[source, name] = track
        if len(self._holed) > _MAX_HOLED:  # forged numbers could fill the memory: call the oldest lost
            pair = next(iter(self._holed))
            self._overdue.add(pair[1])
            self._holed.pop(pair).settle()

    def _touch(self, source: Source, now: float) -> _Life:
        life = self._lives.pop(source, None) or _Life()
        self._lives[source] = life  # the last in order is the one heard last
        life.expires = now + life.patience
        if len(self._lives) > _MAX_SOURCES:
            self._forget(next(iter(self._lives)))
        return life

    def _forget(self, source: Source) -> None:
        for name, track in self._lives.pop(source).tracks.items():
            self._holed.pop((source, name), None)
            if track.holes:
                self._overdue.add(name)
