"""Which numbers are missing, and when that means something."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.core import sequences as module
from entity_sync.core.announce import Announcer
from entity_sync.core.control import Beat
from entity_sync.core.sequences import Sequences
from entity_sync.model import Change, EntityKey, Origin, Source

ONE, OTHER = Source("one", "e"), Source("other", "e")
GRACE = 2.0


@pytest.fixture
def heard() -> Sequences:
    """Listens to items and users; all that was published before second 10 was loaded."""
    found = Sequences(["items", "users"], GRACE)
    found.cover(["items", "users"], 10.0)
    return found


def origin(seq: int, since: float | None = None, source: Source = ONE) -> Origin:
    return Origin(source, seq, None if since is None else int(since * 1_000))


def beat(
    now_ms: int = 0, *, source: Source = ONE, next_ms: int | None = None, bye: bool = False, **last: int
) -> Beat:
    return Beat(*source, {name: (seq, now_ms) for name, seq in last.items()}, next_ms, bye)


def test_in_order_nothing_is_missing(heard: Sequences):
    """Numbers that come one after the other leave no hole."""
    for seq in (1, 2, 3):
        heard.hear("items", origin(seq, 0.1 if seq > 1 else None), 20.0 + seq)
    assert heard.deadline == inf
    assert heard.check(100.0) == set()


def test_out_of_order_within_the_grace(heard: Sequences):
    """A number may come late; within the grace nothing is missing."""
    for seq in (1, 4, 3):
        heard.hear("items", origin(seq), 20.0)
    assert heard.deadline == 22.0
    assert heard.check(21.9) == set()
    heard.hear("items", origin(2), 21.9)
    assert heard.deadline == inf
    assert heard.check(100.0) == set()


def test_a_hole_is_told_once_after_the_grace(heard: Sequences):
    """A number that does not come is missing when its grace is over, and told once."""
    heard.hear("items", origin(1), 20.0)
    heard.hear("items", origin(3), 20.5)
    heard.hear("users", origin(1), 20.5)
    assert heard.check(22.4) == set()
    assert heard.check(22.5) == {"items"}
    assert heard.check(100.0) == set()
    assert heard.deadline == inf
    heard.hear("items", origin(4, 0.1), 30.0)
    assert heard.check(100.0) == set()


def test_doubled_numbers_mean_nothing(heard: Sequences):
    """A message that comes twice, or after its hole was told, opens nothing."""
    for seq in (1, 2, 2, 1, 3):
        heard.hear("items", origin(seq, None if seq == 1 else 0.1), 20.0)
    assert heard.deadline == inf


@pytest.mark.parametrize(("since", "matters"), [(9.9, True), (10.0, True), (10.1, False), (None, False)])
def test_first_of_a_source_that_has_spoken_before(heard: Sequences, since: float | None, matters: bool):
    """The predecessor of the first message heard is missing if it was published after what was loaded."""
    heard.hear("items", origin(7, since), 20.0)
    assert heard.check(22.0) == ({"items"} if matters else set())


def test_predecessors_are_asked_one_by_one(heard: Sequences):
    """A late predecessor tells in turn whether its own predecessor matters."""
    heard.hear("items", origin(7, 1.0), 20.0)
    heard.hear("items", origin(6, 1.0), 20.1)
    heard.hear("items", origin(5, 9.0), 20.2)  # number 4 came before second 10 (20.2 - 9 - 2 of the others)
    assert heard.deadline == pytest.approx(22.2)
    heard.hear("items", origin(4, 50.0), 20.3)
    assert heard.check(100.0) == set()


def test_predecessors_that_came_first(heard: Sequences):
    """What came before its successors made it matter is not missing when they do."""
    for seq, since in ((7, 1.0), (4, 50.0), (5, 5.0), (6, 1.0)):
        heard.hear("items", origin(seq, since), 20.0)
    assert heard.check(100.0) == set()


def test_what_follows_asks_for_no_predecessor(heard: Sequences):
    """While it is open what came before the first number heard, later numbers say nothing of that."""
    heard.hear("items", origin(7, 1.0), 20.0)
    heard.hear("items", origin(8, 0.1), 20.1)
    heard.hear("items", origin(6, 50.0), 20.2)
    assert heard.deadline == inf
    assert heard.check(100.0) == set()


def test_a_hole_of_who_falls_silent_is_told_once(heard: Sequences):
    """A source that is forgotten leaves its missing numbers behind, and they are told once."""
    heard.learn(beat(items=1, next_ms=100), 20.0)
    heard.hear("items", origin(3, 0.1), 20.1)
    assert heard.silent(21.0) == {"items"}
    assert heard.check(21.0) == {"items"}
    assert heard.check(100.0) == set()


def test_late_messages_from_before_are_ignored(heard: Sequences):
    """What was published before the first that matters opens nothing when it comes late."""
    heard.hear("items", origin(7, 60.0), 20.0)
    heard.hear("items", origin(5, 60.0), 20.0)
    heard.hear("items", origin(8, 0.1), 20.0)
    assert heard.deadline == inf


def test_a_beat_tells_of_a_lost_last_message(heard: Sequences):
    """Nothing follows a last message; the beat that tells its number shows that it is missing."""
    heard.hear("items", origin(1), 20.0)
    heard.learn(beat(items=2), 21.0)
    assert heard.check(23.0) == {"items"}


def test_a_beat_tells_of_more_than_we_listen_to(heard: Sequences):
    """Names of others in a beat, before ours or behind, hide nothing of ours."""
    heard.hear("items", origin(1), 20.0)
    heard.hear("users", origin(1), 20.0)
    heard.learn(beat(others=9, items=2, more=9, users=2), 21.0)
    assert heard.check(23.0) == {"items", "users"}


def test_a_beat_leaves_time_for_what_it_tells(heard: Sequences):
    """A number that only a beat has told of may come within the grace, from a known source or a new one."""
    heard.hear("items", origin(1), 20.0)
    heard.learn(beat(items=2), 21.0)
    heard.learn(beat(source=OTHER, users=1), 21.0)
    assert heard.check(22.9) == set()
    assert heard.deadline == 23.0
    heard.hear("items", origin(2, 0.1), 22.9)
    heard.hear("users", origin(1, source=OTHER), 22.9)
    assert heard.check(100.0) == set()


def test_a_beat_tells_where_a_source_stands(heard: Sequences):
    """After a beat of what was loaded already, the next number is expected, and the one behind it too."""
    heard.learn(beat(60_000, items=4), 20.0)
    heard.hear("items", origin(5, 0.1), 20.1)
    assert heard.deadline == inf
    heard.learn(beat(60_000, source=OTHER, items=4), 20.0)
    heard.hear("items", origin(6, 0.1, OTHER), 20.1)
    assert heard.check(22.1) == {"items"}


def test_a_beat_before_its_message(heard: Sequences):
    """A beat may overtake the message whose number it tells."""
    heard.hear("items", origin(1), 20.0)
    heard.learn(beat(items=2), 21.0)
    heard.hear("items", origin(2, 1.0), 21.1)
    assert heard.check(100.0) == set()


@pytest.mark.parametrize(("age", "matters"), [(9_000, True), (11_000, False)])
def test_a_beat_of_an_unknown_source(heard: Sequences, age: int, matters: bool):
    """The last number of a source heard first by its beat matters if it is younger than what was loaded."""
    heard.learn(beat(age, items=5), 20.0)
    assert heard.check(22.0) == ({"items"} if matters else set())


def test_the_message_that_an_unknown_sources_beat_named(heard: Sequences):
    """It fills its hole, and tells whether its own predecessor matters."""
    heard.learn(beat(1_000, items=5), 20.0)
    heard.hear("items", origin(5, 1.0), 20.5)
    assert heard.check(22.0) == set()
    assert heard.check(22.5) == {"items"}


def test_sources_are_told_apart(heard: Sequences):
    """Each source numbers by itself, on each name."""
    heard.hear("items", origin(1), 20.0)
    heard.hear("items", origin(1, source=OTHER), 20.0)
    heard.hear("users", origin(1), 20.0)
    heard.hear("items", origin(2, 0.1, source=OTHER), 20.0)
    assert heard.sources == 2
    assert heard.check(100.0) == set()


def test_other_names_do_not_matter(heard: Sequences):
    """What this node does not listen to cannot be missing."""
    heard.hear("orders", origin(5, 0.1), 20.0)
    heard.learn(beat(orders=9), 20.0)
    assert heard.check(100.0) == set()
    assert heard.silent(1_000.0) == set()


def test_covered_names_start_anew(heard: Sequences):
    """After a gap of the link only what follows it matters."""
    for name in ("items", "users"):
        heard.hear(name, origin(1), 20.0)
        heard.hear(name, origin(3), 20.0)
    heard.cover(["items"], 21.0)
    assert heard.check(22.0) == {"users"}
    heard.hear("items", origin(9, 2.0), 22.0)
    assert heard.check(100.0) == set()


def test_settled_names_keep_their_place(heard: Sequences):
    """After a reload older holes do not matter; what is missing later does."""
    heard.hear("items", origin(1), 20.0)
    heard.hear("items", origin(3), 20.0)
    heard.settle("items")
    assert heard.check(100.0) == set()
    heard.hear("items", origin(4, 0.1), 20.1)
    heard.hear("items", origin(6, 0.1), 20.1)
    assert heard.check(100.0) == {"items"}


def test_a_leap_is_a_loss_and_a_new_start(heard: Sequences):
    """A number that no broker could bring so far out of order is not counted up to: it may be forged."""
    heard.hear("items", origin(1), 20.0)
    heard.hear("items", origin(2**50), 20.0)
    assert heard.deadline == -inf
    assert heard.check(20.0) == {"items"}
    heard.hear("items", origin(2), 20.0)
    heard.learn(beat(items=2**50), 20.0)
    assert heard.check(20.0) == {"items"}
    heard.settle("items")
    assert heard.check(100.0) == set()


def test_silence_after_beats(heard: Sequences):
    """A source that announced its next sign of life and misses three has died, perhaps with messages."""
    heard.hear("items", origin(1), 20.0)
    heard.learn(beat(items=1, next_ms=10_000), 21.0)
    assert heard.knows(ONE) == {"items"}
    assert heard.silent(50.9) == set()
    assert heard.silent(51.0) == {"items"}
    assert heard.sources == 0
    assert heard.knows(ONE) == frozenset()


def test_silence_of_one_that_told_everything(heard: Sequences):
    """A script that told its last number and announced nothing may fall silent; one that did not may not."""
    heard.hear("items", origin(1), 20.0)
    heard.learn(beat(items=1), 21.0)
    heard.hear("users", origin(1, source=OTHER), 21.0)
    assert heard.knows(ONE) == frozenset()
    assert heard.silent(81.0) == {"users"}
    assert heard.sources == 0


def test_silence_after_bye(heard: Sequences):
    """Whoever said bye may fall silent; a hole that its bye shows is told all the same."""
    heard.hear("items", origin(1), 20.0)
    heard.learn(beat(items=2, next_ms=1_000), 20.5)
    heard.learn(beat(items=2, bye=True), 21.0)
    assert heard.check(23.0) == {"items"}
    assert heard.silent(1_000.0) == set()
    assert heard.sources == 0


def test_silence_with_a_hole(heard: Sequences):
    """A source forgotten while a number of it is missing leaves the suspicion behind."""
    heard.learn(beat(items=1, next_ms=100), 20.0)
    heard.learn(beat(bye=True, next_ms=100), 20.0)
    assert heard.silent(20.5) == set()
    assert heard.check(20.5) == {"items"}


def test_sources_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """Forged sources drive out the one heard longest ago, whose open holes count as losses."""
    monkeypatch.setattr(module, "_MAX_SOURCES", 3)
    heard = Sequences(["items"], GRACE)
    heard.hear("items", origin(2, 0.1), 20.0)
    for number in range(5):
        heard.hear("items", origin(1, source=Source(f"forged {number}", "e")), 20.0)
    assert heard.sources == 3
    assert heard.check(20.0) == {"items"}


def test_holes_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """However many sources have holes at once, what is remembered is bounded; the oldest count as lost."""
    monkeypatch.setattr(module, "_MAX_HOLED", 3)
    heard = Sequences(["items", "users"], GRACE)
    heard.hear("users", origin(2, 0.1), 20.0)
    for number in range(3):
        heard.hear("items", origin(2, 0.1, source=Source(f"forged {number}", "e")), 20.1)
    assert heard.check(20.1) == {"users"}
    assert heard.check(22.1) == {"items"}


def test_holes_of_one_source_are_bounded(heard: Sequences):
    """Forged numbers that leap again and again do not fill the memory: beyond a bound all of it is lost."""
    heard.hear("items", origin(1), 20.0)
    heard.hear("items", origin(2_900), 20.0)
    assert heard.check(20.0) == set()
    heard.hear("items", origin(5_800), 20.0)
    assert heard.check(20.0) == {"items"}
    assert heard.check(100.0) == set()


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[int, list[int]]:
    count = draw(st.integers(1, 12))
    return count, draw(st.lists(st.integers(1, count), max_size=30))


@settings(deadline=None)
@given(deliveries(), st.integers(1, 12))
def test_a_loss_is_always_found(delivered: tuple[int, Sequence[int]], joined: int):
    """Whatever comes of what was published after the cover, in whatever order and however often: with the
    last beat, a name is told exactly if one of those messages never came."""
    count, order = delivered
    announcer = Announcer(ONE)
    times = {seq: seq - 1_000.0 * (seq < joined) for seq in range(1, count + 1)}
    published = {
        seq: announcer.numbered(map(Change, [EntityKey("items", "1")]), at)[0].origin
        for seq, at in times.items()
    }
    heard = Sequences(["items"], GRACE)
    heard.cover(["items"], 0.0)  # numbers from `joined` on matter
    for seq in order:
        found = published[seq]
        if seq >= joined and found is not None:
            heard.hear("items", found, float(count))
    heard.learn(announcer.alive(float(count), 10.0), float(count))
    missing = set(range(joined, count + 1)) - set(order)
    assert heard.check(count + GRACE) == ({"items"} if missing else set())
