"""The bytes that views hold together."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from entity_sync.core.canonical import canonical
from entity_sync.core.frame import Frame
from entity_sync.core.index import Index
from entity_sync.core.loaded import Loaded, LoadedRow
from entity_sync.core.loadstate import Cause
from entity_sync.core.memory import Memory
from entity_sync.core.outbox import Outbox
from entity_sync.core.receipts import Receipts
from entity_sync.core.subscription import ClassicSubscription, V2Subscription
from entity_sync.core.tags import Reading
from entity_sync.core.view import View
from entity_sync.model import EntityKey


class Fake:
    """Something that holds bytes."""

    def __init__(self, held: int, kept: int = 0) -> None:
        self.held = held
        self.kept = kept

    def reduce(self) -> None:
        self.held = self.kept


def memory(ceiling: int) -> Memory[Fake]:
    return Memory(ceiling, Fake.reduce, lambda _holder: None)


def hold(bytes_: Memory[Fake], holder: Fake) -> None:
    bytes_.hold(holder, holder.held, holder.kept)


def test_the_one_used_longest_ago_is_reduced():
    """Over the ceiling, of those that were neither changed nor used, the first goes first."""
    bytes_ = memory(100)
    one, two, three = Fake(40, 5), Fake(40, 5), Fake(40, 5)
    for holder in (one, two):
        hold(bytes_, holder)
    bytes_.touch(one)
    hold(bytes_, three)
    assert [holder.held for holder in (one, two, three)] == [40, 5, 40]
    assert bytes_.total == 85


def test_the_one_in_use_stays():
    """What is held now is never reduced, even if it is more than the ceiling; all others are."""
    bytes_ = memory(100)
    other, large = Fake(90), Fake(150)
    hold(bytes_, other)
    hold(bytes_, large)
    assert (other.held, large.held, bytes_.total) == (0, 150, 150)
    hold(bytes_, large)
    assert large.held == 150


def test_what_is_reduced_is_not_reduced_again():
    """It has nothing more to give up until it holds more again."""
    reduced: list[Fake] = []
    bytes_: Memory[Fake] = Memory(100, reduced.append, lambda _holder: None)
    holders = [Fake(90, 5), Fake(60, 50), Fake(90)]
    for holder in holders:
        hold(bytes_, holder)
    assert reduced == holders[:2]
    assert bytes_.total == 145


def test_what_is_kept_may_exceed_the_ceiling():
    """Where nobody has anything to give up, nobody is reduced, and none is asked again and again."""
    bytes_ = memory(10)
    one, two = Fake(20, 20), Fake(20, 20)
    hold(bytes_, one)
    hold(bytes_, two)
    assert (one.held, two.held, bytes_.total) == (20, 20, 40)


def test_what_fits():
    """A result fits if it does beside what the others keep when they are reduced."""
    bytes_ = memory(100)
    one, two = Fake(60, 30), Fake(40, 30)
    hold(bytes_, one)
    hold(bytes_, two)
    assert bytes_.fits(Fake(0), 40)
    assert not bytes_.fits(Fake(0), 41)
    assert bytes_.fits(one, 70)  # what it keeps itself is part of what it needs
    assert not bytes_.fits(one, 71)


def test_what_is_gone_holds_nothing():
    """A view that nobody watches any more frees its bytes; touching or forgetting it again is no matter."""
    bytes_ = memory(100)
    one = Fake(60, 30)
    hold(bytes_, one)
    for _ in range(2):
        bytes_.forget(one)
        bytes_.touch(one)
    assert bytes_.total == 0
    assert bytes_.fits(Fake(0), 100)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60), st.integers(0, 9)), max_size=60))
def test_the_total_is_the_sum(deeds: list[tuple[int, int, int]]):
    """Whatever is held and forgotten, the total is the sum, over the ceiling by no more than the last one."""
    bytes_ = memory(100)
    holders = [Fake(0) for _ in range(5)]
    held: set[Fake] = set()
    for number, size, kept in deeds:
        holder = holders[number]
        if size == 0:
            bytes_.forget(holder)
            held.discard(holder)
            continue
        holder.held, holder.kept = size + kept, kept
        hold(bytes_, holder)
        held.add(holder)
        assert bytes_.total == sum(holder.held for holder in held)
        assert bytes_.total <= 100 + holder.held


# A view

TEXT = "x" * 300


class Room:
    """A view whose memory is bounded, with what its memory asked for."""

    def __init__(self, ceiling: int = 100_000) -> None:
        self.recalled: list[View] = []
        self.memory = Memory[View](ceiling, View.reduce, self.recalled.append)
        self.view = View(EntityKey("items", "7"), (), 42, self.memory)
        self.ticket = 0

    def load(self, *data: object, cause: Cause = Cause.NOTIFY) -> bool:
        rows = tuple(
            LoadedRow(canonical(datum), canonical(datum), EntityKey("rows", str(number)) if number else None)
            for number, datum in enumerate(data)
        )
        self.ticket += 1
        self.view.trigger(cause, 0.0)
        self.view.start(self.ticket, 0.0)
        return self.view.succeed(Loaded(rows))[0]


def test_bytes_of_rows_and_frames():
    """A view accounts for its rows, what the application wrote besides, and each frame that it keeps."""
    room = Room()
    room.load({"text": TEXT})
    rows = room.memory.total
    assert rows > 600  # canonical() made two texts that are equal and not the same
    snapshot = len(room.view.snapshot)
    assert room.memory.total >= rows + 2 * snapshot
    with_snapshot = room.memory.total
    assert room.view.snapshot
    assert room.memory.total == with_snapshot
    assert room.view.classic
    assert room.memory.total >= with_snapshot + 2 * 300


def test_bytes_of_closed_views():
    """The index makes views that account for their bytes, and forgets those with the view."""
    bytes_ = Memory[View](100_000, View.reduce, lambda _view: None)
    index = Index(lambda: 7, bytes_)
    one = index.open(EntityKey("items", "7"), ())
    one.trigger(Cause.NOTIFY, 0.0)
    one.start(1, 0.0)
    one.succeed(Loaded((LoadedRow(b"1", b"1"),)))
    assert bytes_.total > 0
    index.close(one)
    assert bytes_.total == 0


def test_bytes_of_differences():
    """The state before the last is accounted for until the difference is worked out, and then that."""
    room = Room()
    room.load({"text": TEXT, "n": 1})
    first = room.memory.total
    room.load({"text": TEXT, "n": 2})
    assert room.memory.total == 2 * first
    [delta] = room.view.since(1)
    assert room.memory.total == first + delta.held


def test_bytes_of_what_rides_along_stay():
    """What a view depends on is accounted for, and stays when it is reduced."""
    room = Room()
    room.view.rows, room.view.reads = frozenset({EntityKey("rows", "1")}), (Reading("others"),)
    room.load({"text": TEXT}, {})
    assert room.view.kept > 0
    assert room.memory.total > room.view.kept
    room.view.reduce()
    assert room.view.held == room.view.kept
    assert room.view.needed(Loaded((LoadedRow(b"1", b"1"),), reads=(Reading("others"),))) > 200


def test_same_bytes_count_once():
    """Where the application's JSON is the canonical one, the same object is not counted twice."""
    data = canonical({"text": TEXT})
    assert (
        Loaded((LoadedRow(data, data),)).held + len(data)
        == Loaded((LoadedRow(data, bytes(bytearray(data))),)).held
    )


def subscription(view: View) -> V2Subscription:
    found = V2Subscription(view, Outbox("v2", 1_000))
    found.ask(None)
    return found


def events(frames: list[Frame]) -> list[str]:
    return [msgspec.json.decode(frame.payload)["event"] for frame in frames]


def test_reduced_view_recalls_what_is_to_be_sent():
    """Who needs rows that are not kept gets nothing and has them loaded; then comes the snapshot."""
    room = Room()
    room.load({"text": TEXT})
    version = room.view.version
    room.view.reduce()
    client = subscription(room.view)
    assert client.take(0.0) == []
    assert room.recalled == [room.view]
    assert room.load({"text": TEXT}, cause=Cause.SUBSCRIBE)
    assert room.view.version == version
    assert room.view.rev == 1
    assert events(client.take(0.0)) == ["snapshot"]
    assert client.take(0.0) == []


def test_reduced_view_answers_who_is_up_to_date():
    """Whoever holds the version is told so without a load."""
    room = Room()
    room.load({"text": TEXT})
    room.view.reduce()
    client = subscription(room.view)
    client.ask(room.view.version)
    assert events(client.take(0.0)) == ["current"]
    assert room.recalled == []


def test_next_change_of_a_reduced_view_is_a_snapshot():
    """A client that holds the rev before is sent the state whole, for the difference is not known."""
    room = Room()
    room.load({"text": TEXT, "n": 1})
    client = subscription(room.view)
    client.take(0.0)
    room.view.reduce()
    assert room.load({"text": TEXT, "n": 2}, cause=Cause.RESYNC)
    assert room.view.rev == 2
    assert events(client.take(0.0)) == ["snapshot"]


def test_reduced_view_pushes_to_classic_after_a_load():
    """A classic client whose push was not sent yet has the rows loaded, and gets the push."""
    room = Room()
    client = ClassicSubscription(room.view, Outbox("classic", 1_000))
    client.ask()
    assert client.take(0.0) == []
    assert room.recalled == []  # there is no state yet, and a load of the first one is under way
    room.load({"text": TEXT})
    room.view.reduce()
    assert client.take(0.0) == []
    assert room.recalled == [room.view]
    room.load({"text": TEXT}, cause=Cause.SUBSCRIBE)
    assert len(client.take(0.0)) == 1


def test_nothing_is_recalled_after_a_failure():
    """While a failure is told, rows are not asked for at every look: the load that ends it brings them."""
    room = Room()
    room.load({"text": TEXT})
    room.view.reduce()
    room.view.fail("busy", "no room")
    client = subscription(room.view)
    assert events(client.take(0.0)) == ["error"]
    assert room.recalled == []
    assert room.load({"text": TEXT})
    assert events(client.take(0.0)) == ["snapshot", "fresh"]


def test_causes_follow_the_rows():
    """Which notifies a state covers is not told before that state is."""
    room = Room()
    client = subscription(room.view)
    room.view.receipts = Receipts()
    client.ask_causes()
    room.load({"text": TEXT, "n": 1})
    client.take(0.0)
    room.view.receipts.add(["token"])
    room.load({"text": TEXT, "n": 2})
    room.view.reduce()
    assert client.take(0.0) == []
    room.load({"text": TEXT, "n": 2}, cause=Cause.SUBSCRIBE)
    assert events(client.take(0.0)) == ["snapshot", "current"]
