"""What a result changes, and the frames made of it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from entity_sync.core.canonical import GONE_VERSION, canonical
from entity_sync.core.frame import Frame
from entity_sync.core.loaded import DENIED, Loaded, LoadedRow
from entity_sync.core.loadstate import Cause, LoadAction, LoadState
from entity_sync.core.receipts import Receipts
from entity_sync.core.tags import Reading
from entity_sync.core.view import View
from entity_sync.model import EntityKey

GONE = Loaded((), gone=True)
KEY = EntityKey("users", "1")
ROWS = (LoadedRow(b"1", b"1", KEY),)


def value(data: bytes, verbatim: bytes | None = None) -> Loaded:
    return Loaded((LoadedRow(data, verbatim or data),))


def view() -> View:
    return View(EntityKey("items", "7"), (), 42)


def load(view: View, result: Loaded, cause: Cause, ticket: int = 1) -> bool:
    view.trigger(cause, 0.0)
    view.start(ticket, 0.0)
    return view.succeed(result)[0]


def test_counts_differences_for_v2_and_notifies_for_classic():
    """rev counts results that differ; push also those that a notify asked for."""
    one = view()
    steps = [
        (value(b"1"), Cause.SUBSCRIBE, (1, 0)),
        (value(b"1"), Cause.NOTIFY, (1, 1)),
        (value(b"1"), Cause.RESYNC, (1, 1)),
        (value(b"2"), Cause.RESYNC, (2, 2)),
        (GONE, Cause.NOTIFY, (3, 3)),
    ]
    for result, cause, expected in steps:
        load(one, result, cause)
        assert (one.rev, one.push) == expected


def test_unknown_before_a_resync_is_pushed():
    """A resync's first result may be what a classic client missed, so it is pushed."""
    one = view()
    load(one, value(b"1"), Cause.RESYNC)
    assert one.push == 1


def test_resync_without_news_is_silent():
    """A result that differs in nothing and that nobody waits for is no news."""
    one = view()
    assert load(one, value(b"1"), Cause.SUBSCRIBE)
    assert not load(one, value(b"1"), Cause.RESYNC)
    assert load(one, value(b"1"), Cause.SUBSCRIBE)


def test_the_end_of_a_failure_is_news():
    """Also where the rows are the same, and nobody asked: whoever was told stale is told fresh."""
    one = view()
    load(one, value(b"1"), Cause.SUBSCRIBE)
    one.fail("load", "on purpose")
    assert load(one, value(b"1"), Cause.REREAD, 2)
    assert not load(one, value(b"1"), Cause.REREAD, 3)


def test_what_was_denied_and_goes_tells_of_its_end_alone():
    """The tokens of the time in which it was denied say how often it changed."""
    one = view()
    one.receipts = Receipts()
    one.receipts.add(["denied"])
    load(one, DENIED, Cause.NOTIFY)
    one.receipts.add(["deleted"])
    load(one, GONE, Cause.NOTIFY, 2)
    (frame,) = one.covering(0)
    assert msgspec.json.decode(frame.payload)["causes"] == ["deleted"]


def test_trigger_during_a_load_costs_one_more():
    """What is triggered while loading is loaded again, with its own causes."""
    one = view()
    assert one.trigger(Cause.SUBSCRIBE, 0.0) is LoadAction.ENQUEUE
    one.start(1, 0.0)
    assert one.trigger(Cause.NOTIFY, 0.0) is LoadAction.NOTHING
    assert one.succeed(value(b"1")) == (True, LoadAction.ENQUEUE)
    assert (one.state, one.causes, one.push) == (LoadState.QUEUED, Cause.NOTIFY, 0)


def test_postponed_keeps_all_causes():
    """What asked during a try that gave nothing is asked for by the next one, with what asked before."""
    one = view()
    one.trigger(Cause.NOTIFY, 0.0)
    one.start(1, 0.0)
    one.trigger(Cause.SUBSCRIBE, 0.0)
    one.postpone()
    assert (one.causes, one.running_causes) == (Cause.NOTIFY | Cause.SUBSCRIBE, Cause(0))


def test_postponed_keeps_its_causes():
    """A failed try's causes are those of the next, which is one attempt later."""
    one = view()
    one.trigger(Cause.NOTIFY, 0.0)
    one.start(1, 0.0)
    one.postpone()
    assert (one.attempts, one.causes, one.state) == (1, Cause.NOTIFY, LoadState.QUEUED)
    one.start(2, 0.0)
    one.succeed(value(b"1"))
    assert (one.attempts, one.push, one.ticket) == (0, 1, 2)


def test_giving_up_waits_for_the_next_trigger():
    """After giving up nothing follows, unless something asked meanwhile."""
    one = view()
    one.trigger(Cause.NOTIFY, 0.0)
    one.start(1, 0.0)
    assert one.give_up() is LoadAction.NOTHING
    assert one.state is LoadState.IDLE


def test_a_change_is_pushed_though_its_load_was_given_up():
    """Whatever a later load was for: classic clients hear of the change by its result, and once."""
    one = view()
    one.trigger(Cause.NOTIFY, 0.0)
    one.start(1, 0.0)
    one.give_up()
    load(one, value(b"1"), Cause.SUBSCRIBE)
    assert one.push == 1
    load(one, value(b"1"), Cause.SUBSCRIBE)
    assert one.push == 1


def test_a_subscriber_is_no_change_though_its_load_was_given_up():
    """Who only asked is owed no push."""
    one = view()
    one.trigger(Cause.SUBSCRIBE, 0.0)
    one.start(1, 0.0)
    one.give_up()
    load(one, value(b"1"), Cause.SUBSCRIBE)
    assert one.push == 0


def test_frames_are_shared():
    """The frames of a rev are made once, and again only when the rows differ."""
    one = view()
    load(one, value(b"1"), Cause.SUBSCRIBE)
    frames = (one.snapshot, one.current, *one.classic)
    load(one, value(b"1"), Cause.NOTIFY)
    assert all(
        before is after
        for before, after in zip(frames, (one.snapshot, one.current, *one.classic), strict=True)
    )
    load(one, value(b"2"), Cause.NOTIFY)
    assert one.snapshot is not frames[0]


def test_snapshot_and_current():
    """A snapshot holds the rows, a current their version only."""
    one = view()
    load(one, value(b'{"a":1}'), Cause.SUBSCRIBE)
    snapshot = msgspec.json.decode(one.snapshot.payload)
    assert snapshot == {
        "event": "snapshot", "view": 42, "entity": "items", "id": "7", "rev": 1, "version": one.version,
        "rows": [{"data": {"a": 1}}], "gone": False,
    }  # fmt: skip
    current = msgspec.json.decode(one.current.payload)
    assert current == {
        "event": "current",
        "view": 42,
        "entity": "items",
        "id": "7",
        "rev": 1,
        "version": one.version,
    }


def test_gone_is_not_empty():
    """Gone has a version of its own, no rows, and nothing to push on classic."""
    one = view()
    load(one, GONE, Cause.NOTIFY)
    assert msgspec.json.decode(one.snapshot.payload)["gone"] is True
    assert (one.version, one.classic) == (GONE_VERSION, ())
    assert Loaded(()).version != GONE_VERSION


def test_verbatim_on_classic():
    """Classic gets the bytes as the application wrote them, even if only they differ."""
    one = view()
    load(one, value(b'{"a":1}', b'{ "a" : 1 }'), Cause.NOTIFY)
    assert [frame.payload for frame in one.classic] == [b'{ "a" : 1 }']
    load(one, value(b'{"a":1}', b'{"a": 1}'), Cause.NOTIFY)
    assert [frame.payload for frame in one.classic] == [b'{"a": 1}']
    assert one.rev == 1


def test_a_version_is_worked_out_when_somebody_has_the_time():
    """And is the one that is worked out when it is asked for."""
    rows = (LoadedRow(b"1", b"1"),)
    state = Loaded(rows)
    state.work_out_version()
    assert state._version == Loaded(rows).version


@pytest.mark.parametrize(
    "make",
    [
        lambda: EntityKey("users", "1"),
        lambda: LoadedRow(b"1", b"1", KEY),
        lambda: Loaded(ROWS),
        lambda: Frame(b"1"),
    ],
    ids=["key", "row", "state", "frame"],
)
def test_states_are_nothing_to_the_garbage_collector(make: Callable[[], object]):
    """A node may have many thousands of them, none of which can be part of a cycle: neither traced nor
    counted.
    """
    gc.collect()
    gc.disable()
    try:
        before = gc.get_count()[0]
        made = [make() for _ in range(100)]
        after = gc.get_count()[0]
    finally:
        gc.enable()
    assert after - before < len(made)
    assert not any(map(gc.is_tracked, made))


def test_states_and_frames_are_equal_to_themselves_alone():
    """What has been worked out of one and not of another must not make them differ, nor be compared."""
    assert Loaded(ROWS) != Loaded(ROWS)
    assert Frame(b"1") != Frame(b"1")


def test_size_is_that_of_all_rows():
    """The size of a result is the bytes of its rows, with their keys, in a snapshot."""
    rows = (LoadedRow(b"12", b"1 2"), LoadedRow(b"3", b"3", EntityKey("users", "é" * 9)))
    assert Loaded(rows).size == len(msgspec.json.encode([row.wire for row in rows])) - 1


def test_size_is_worked_out_once():
    """However many subscriptions ask for it."""

    class Rows(tuple[LoadedRow, ...]):  # noqa: SLOT001 - it counts
        looked = 0

        def __iter__(self) -> Iterator[LoadedRow]:
            self.looked += 1
            return super().__iter__()

    rows = Rows((LoadedRow(b"12", b"12"),))
    state = Loaded(rows)
    assert [state.size for _ in range(3)] == [state.size] * 3
    assert rows.looked == 1


def test_failures_name_what_is_known():
    """A stale names the key, and the view once there is one; a view that is too large is an error."""
    one = view()
    one.trigger(Cause.SUBSCRIBE, 1.0)
    told = failure(one, "load", 3.5)
    assert told == {"event": "stale", "reason": "load", "age_ms": 2_500, "entity": "items", "id": "7"}
    one.start(1, 0.0)
    one.succeed(value(b"1"))
    assert failure(one, "load", 1.0)["view"] == 42
    assert failure(one, "too_large", 0.0) == {
        "event": "error", "code": "too_large", "text": "text", "retryable": False,
        "entity": "items", "id": "7",
    }  # fmt: skip
    assert failure(one, "busy", 0.0)["retryable"] is True


def test_a_failure_is_as_old_as_what_it_leaves_unshown():
    """Each is told the age at its moment; another kind of failure, and a later question, change nothing."""
    one = view()
    one.trigger(Cause.SUBSCRIBE, 1.0)
    one.start(1, 1.0)
    one.fail("load", "text")
    one.give_up()
    assert one.failure is not None
    shared = one.failure.frame(2.0)
    assert one.failure.frame(2.0) is shared
    assert msgspec.json.decode(one.failure.frame(3_601.0).payload)["age_ms"] == 3_600_000
    one.trigger(Cause.SUBSCRIBE, 100.0)
    one.fail("too_large", "text")
    assert failure(one, "load", 101.0)["age_ms"] == 100_000


def failure(view: View, code: str, now: float) -> Any:
    view.fail(code, "text")
    assert view.failure is not None
    return msgspec.json.decode(view.failure.frame(now).payload)


def test_no_frame_without_a_state():
    """Asking for a frame before the first result is a mistake of the caller."""
    with pytest.raises(RuntimeError, match="no rows now"):
        _ = view().snapshot
    with pytest.raises(RuntimeError, match="no state yet"):
        _ = view().current


def long(data: str) -> bytes:
    return canonical({"text": "x" * 300, "data": data})


def test_what_concerns_a_view():
    """Its own entity, those of its rows, and those it reads."""
    one = View(EntityKey("reports", "1"), (), 1)
    one.rows, one.reads = frozenset({EntityKey("users", "9")}), (Reading("orders"),)
    assert [one.concerns([name]) for name in ("reports", "users", "orders", "others")] == [True] * 3 + [False]


@pytest.mark.parametrize(
    ("states", "events"),
    [
        ([long("a"), long("b")], ["delta"]),
        ([long("a"), None], ["snapshot"]),
        ([long("a"), None, long("b")], ["snapshot"]),
        ([long("a"), canonical("short")], ["snapshot"]),
        ([long("a"), *[long(str(n)) for n in range(8)]], ["snapshot"]),  # nobody asked for those in between
    ],
)
def test_from_the_first_state_to_the_last(states: list[bytes | None], events: list[str]):
    """A delta where it is less than the state whole, and known; between gone and not gone never."""
    one = View(EntityKey("reports", "1"), (), 1)
    for data in states:
        one.trigger(Cause.NOTIFY, 0.0)
        one.start(1, 0.0)
        rows = () if data is None else (LoadedRow(data, data),)
        one.succeed(Loaded(rows, gone=data is None))
    assert [msgspec.json.decode(frame.payload)["event"] for frame in one.since(1)] == events


def test_what_was_asked_for_while_a_load_was_given_up():
    """A notify of meanwhile is not forgotten with it, nor one that it was for: classic clients hear later."""
    view = View(KEY, (), 1)
    for before, meanwhile in ((Cause.SUBSCRIBE, Cause.NOTIFY), (Cause.NOTIFY, Cause.SUBSCRIBE)):
        view.trigger(before, 0.0)
        view.start(1, 0.0)
        view.trigger(meanwhile, 0.0)
        assert view.give_up() is LoadAction.ENQUEUE
        assert Cause.NOTIFY in view.causes
        view.start(2, 0.0)
        view.succeed(Loaded(()))
