"""The client's copies, without a socket."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from entity_sync.client.incoming import decode
from entity_sync.client.replica import Replica
from entity_sync.client.state import Row
from entity_sync.model import EntityKey

KEY = EntityKey("orders", "7")
OTHER = EntityKey("orders", "8")
LIMIT = 65_536
NAMES = {"entity": "orders", "id": "7"}


def say(replica: Replica, event: str, **members: Any) -> list[Any]:
    """Let the server say something; returns what the client then asks."""
    for message in decode(msgspec.json.encode({"event": event, **members}).decode()):
        replica.receive(message)
    return ask(replica)


def ask(replica: Replica) -> list[Any]:
    frames = [msgspec.json.decode(frame) for frame in replica.take(LIMIT)]
    return [{name: value for name, value in frame.items() if name != "ref"} for frame in frames]


def snapshot(replica: Replica, data: Any, version: str, *, view: int = 1, rows: Any = None) -> list[Any]:
    found = ([] if data is None else [{"data": data}]) if rows is None else rows
    return say(replica, "snapshot", **NAMES, view=view, rev=1, version=version, rows=found, gone=data is None)


def current(replica: Replica, version: str, *, view: int = 1) -> list[Any]:
    return say(replica, "current", **NAMES, view=view, rev=9, version=version)


@pytest.fixture
def replica() -> Replica:
    """Holds one answered copy."""
    replica = Replica()
    replica.watch(KEY)
    replica.opened()
    replica.silent(False)
    ask(replica)
    snapshot(replica, {"n": 1}, "v1")
    replica.news.clear()
    return replica


def test_nothing_is_known_at_first():
    """A copy is unknown, empty and stale until the server has answered."""
    replica = Replica()
    replica.watch(KEY)
    state = replica.state(KEY)
    assert not replica.is_known(KEY)
    assert (state.rows, state.data, state.version, state.stale_reason) == ((), None, None, "connection")


def test_snapshot_is_shown(replica: Replica):
    """A snapshot's rows are shown under the view's own key or their own, and are news."""
    snapshot(replica, 0, "v2", rows=[{"data": {"n": 2}}, {"entity": "users", "id": "9", "data": None}])
    state = replica.state(KEY)
    assert state.rows == (Row("orders", "7", {"n": 2}), Row("users", "9", None))
    assert state.data == {"n": 2}
    assert (state.version, state.is_stale, state.is_gone) == ("v2", False, False)
    assert list(replica.news) == [KEY]


def test_gone_is_no_empty_list(replica: Replica):
    """A key that is gone is shown as gone, and a list without rows is not."""
    snapshot(replica, None, "v2")
    assert replica.state(KEY).is_gone
    snapshot(replica, 0, "v3", rows=[])
    assert (replica.state(KEY).is_gone, replica.state(KEY).rows) == (False, ())


def test_reconnect_resumes_by_version(replica: Replica):
    """The next connection is told the version held, and what is shown is stale until it answers."""
    replica.silent(True)
    replica.opened()
    assert ask(replica) == [{"action": "subscribe", "body": [NAMES | {"version": "v1"}]}]
    replica.silent(False)
    assert replica.state(KEY).stale_reason == "connection"
    assert replica.state(KEY).data == {"n": 1}
    current(replica, "v1", view=2)
    assert not replica.state(KEY).is_stale


def test_current_of_another_version_asks(replica: Replica):
    """A current with another version keeps the rows, stale, and asks for the view whole."""
    assert current(replica, "v9", view=2) == [{"action": "resync", "body": {"view": 2, "rev": 0}}]
    assert (replica.state(KEY).data, replica.state(KEY).is_stale) == ({"n": 1}, True)
    snapshot(replica, {"n": 9}, "v9", view=2)
    assert (replica.state(KEY).data, replica.state(KEY).is_stale) == ({"n": 9}, False)


def test_a_delta_is_applied(replica: Replica):
    """A delta from the rev that is held changes a copy; a state that a program still shows stays as it is."""
    before = replica.state(KEY)
    patch = [{"set": {"m": None}, "unset": ["n"]}]
    put = [{"entity": "users", "id": "9", "data": 1, "at": 0}]
    assert say(replica, "delta", view=1, base=1, rev=2, version="v2", patch=patch, put=put) == []
    after = replica.state(KEY)
    assert after.rows == (Row("users", "9", 1), Row("orders", "7", {"m": None}))
    assert (after.version, after.is_stale) == ("v2", False)
    assert before.data == {"n": 1}
    assert say(replica, "delta", view=1, base=2, rev=3, version="v3", drop=[{}]) == []
    assert replica.state(KEY).rows == (Row("users", "9", 1),)


@pytest.mark.parametrize(
    "delta",
    [
        {"base": 2, "rev": 3},  # one was missed
        {"base": 1, "rev": 2, "drop": [{"entity": "users", "id": "9"}]},
        {"base": 1, "rev": 2, "patch": [{"entity": "users", "id": "9", "set": {}}]},
        {"base": 1, "rev": 2, "put": [{"data": 1, "entity": "users", "id": "9", "at": 2}]},
        {"base": 1, "rev": 2, "order": [{"entity": "users", "id": "9"}]},
        {"base": 1, "rev": 2, "order": [{}, {}]},
    ],
)
def test_a_delta_that_does_not_fit(replica: Replica, delta: dict[str, Any]):
    """One of other rows leaves the copy as it is, stale, until the rows have come whole."""
    asked = [{"action": "resync", "body": {"view": 1, "rev": 0}}]
    assert say(replica, "delta", view=1, version="v2", **delta) == asked
    assert (replica.state(KEY).data, replica.state(KEY).is_stale) == ({"n": 1}, True)
    assert say(replica, "delta", view=1, base=1, rev=2, version="v2") == asked
    snapshot(replica, {"n": 2}, "v2")
    assert (replica.state(KEY).data, replica.state(KEY).is_stale) == ({"n": 2}, False)


def test_a_patch_of_what_is_no_object(replica: Replica):
    """A number has no members."""
    snapshot(replica, 5, "v5")
    asked = say(replica, "delta", view=1, base=1, rev=2, version="v6", patch=[{"set": {"n": 1}}])
    assert asked == [{"action": "resync", "body": {"view": 1, "rev": 0}}]


def test_delta_of_a_forgotten_view_is_nothing(replica: Replica):
    """A delta of a view that nobody holds any more asks for nothing."""
    assert say(replica, "delta", view=5, base=1, rev=2, version="v2") == []


def test_no_delta_between_secret_and_ack(replica: Replica):
    """A delta for the principal before is discarded with all else."""
    replica.identify(4)
    assert say(replica, "delta", view=1, base=1, rev=2, version="v2", patch=[{"set": {"n": 2}}]) == []
    assert replica.state(KEY).data == {"n": 1}


def test_nothing_between_secret_and_ack(replica: Replica):
    """What comes between a secret and its answer is discarded, and what is held is stale until replaced."""
    replica.identify(4)
    assert replica.state(KEY).stale_reason == "connection"
    assert snapshot(replica, {"n": 2}, "v2") == []
    assert current(replica, "v2") == []
    assert say(replica, "delta", view=1, base=1, rev=2, version="v2") == []
    assert replica.state(KEY).data == {"n": 1}
    say(replica, "ack", ref=4)
    assert replica.state(KEY).is_stale
    snapshot(replica, {"n": 3}, "v3")
    assert (replica.state(KEY).data, replica.state(KEY).is_stale) == ({"n": 3}, False)


def test_nothing_from_the_change_on(replica: Replica):
    """So it is from the moment on that the client is somebody else, though an earlier secret is answered."""
    replica.identify(4)
    replica.news.clear()
    replica.change()
    assert list(replica.news) == [KEY]
    say(replica, "ack", ref=4)
    snapshot(replica, {"n": 2}, "v2")
    assert say(replica, "delta", view=1, base=1, rev=2, version="v2", patch=[{"set": {"n": 2}}]) == []
    assert (replica.state(KEY).data, replica.state(KEY).stale_reason) == ({"n": 1}, "connection")
    replica.identify(5)
    say(replica, "ack", ref=5)
    assert replica.state(KEY).is_stale
    current(replica, "v1")
    assert not replica.state(KEY).is_stale
    replica.change()
    replica.opened()
    current(replica, "v1")
    assert not replica.state(KEY).is_stale


def test_only_the_newest_secret_counts(replica: Replica):
    """Of two secrets under way the answer to the first ends nothing; an error answers as an ack does."""
    replica.identify(4)
    replica.identify(5)
    say(replica, "ack", ref=4)
    snapshot(replica, {"n": 2}, "v2")
    assert replica.state(KEY).data == {"n": 1}
    say(replica, "error", ref=5, code="denied", text="no", retryable=False)
    snapshot(replica, {"n": 3}, "v3")
    assert replica.state(KEY).data == {"n": 3}


def test_a_new_connection_owes_no_answer(replica: Replica):
    """A secret whose answer was lost with its connection discards nothing on the next."""
    replica.identify(4)
    replica.opened()
    snapshot(replica, {"n": 2}, "v2")
    assert replica.state(KEY).data == {"n": 2}


def test_denied_drops_the_copy(replica: Replica):
    """A denied key is shown as denied, without rows, and resumes without a version."""
    say(replica, "denied", **NAMES, code="denied")
    state = replica.state(KEY)
    assert (state.is_denied, state.rows, state.version, state.is_stale) == (True, (), None, False)
    replica.opened()
    assert ask(replica) == [{"action": "subscribe", "body": [NAMES]}]


@pytest.mark.parametrize(
    ("stale", "fresh", "reason"),
    [
        ({"reason": "broker", "age_ms": 1}, {}, "broker"),
        ({"reason": "load", "age_ms": 1, "view": 1, **NAMES}, {"view": 1}, "load"),
        ({"reason": "load", "age_ms": 1, "view": 1}, {"view": 1}, "load"),
        ({"reason": "tea-break", "age_ms": 1}, {}, "broker"),
    ],
)
def test_stale_and_fresh(replica: Replica, stale: dict[str, Any], fresh: dict[str, Any], reason: str):
    """Stale, of the connection or of a view, is shown with its reason until fresh, and both are news."""
    for event, members, expected in (("stale", stale, reason), ("fresh", fresh, None)):
        replica.news.clear()
        say(replica, event, **members)
        assert replica.state(KEY).stale_reason == expected
        assert list(replica.news) == [KEY]


def test_stale_of_one_view_is_nobody_elses(replica: Replica):
    """A view's failure and its end concern that view alone."""
    replica.watch(OTHER)
    say(replica, "snapshot", entity="orders", id="8", view=2, rev=1, version="w", rows=[], gone=False)
    say(replica, "stale", reason="load", age_ms=1, view=2)
    say(replica, "fresh", view=1)
    assert (replica.state(KEY).is_stale, replica.state(OTHER).stale_reason) == (False, "load")


def test_a_first_load_that_fails_is_told():
    """A key whose first load fails is known to be stale, so nobody waits for ever; its rows end that."""
    replica = Replica()
    replica.watch(KEY)
    replica.opened()
    replica.silent(False)
    say(replica, "stale", reason="load", age_ms=1, **NAMES)
    assert replica.is_known(KEY)
    assert (replica.state(KEY).stale_reason, replica.state(KEY).version) == ("load", None)
    snapshot(replica, {"n": 1}, "v1")
    assert not replica.state(KEY).is_stale


def test_another_view_does_not_inherit_a_failure(replica: Replica):
    """A new audience brings a new view, and the old one's failure, whose end is never told, ends with it."""
    say(replica, "stale", reason="load", age_ms=1, view=1, **NAMES)
    current(replica, "v1", view=1)
    assert replica.state(KEY).stale_reason == "load"
    snapshot(replica, {"n": 2}, "v2", view=2)
    assert not replica.state(KEY).is_stale


def test_too_large_keeps_the_rows(replica: Replica):
    """Rows that the server will not send leave the old ones, stale, and the subscription."""
    say(replica, "error", code="too_large", text="big", retryable=False, **NAMES)
    assert (replica.state(KEY).data, replica.state(KEY).stale_reason) == ({"n": 1}, "too_large")
    assert not replica.refused
    say(replica, "fresh", view=1)
    assert not replica.state(KEY).is_stale


def test_silence_is_stale(replica: Replica):
    """A connection that says nothing makes everything stale, once, and frames end that."""
    replica.silent(True)
    assert list(replica.news) == [KEY]
    replica.news.clear()
    replica.silent(True)
    assert not replica.news
    assert replica.state(KEY).stale_reason == "connection"
    replica.silent(False)
    assert not replica.state(KEY).is_stale


def test_refused_key_is_forgotten(replica: Replica):
    """A key that the server refuses is told with its code, asked for no more, and disturbs no other."""
    replica.watch(OTHER)
    ask(replica)
    failure = {"entity": "orders", "id": "8", "code": "bad_id", "text": "no", "retryable": False}
    say(replica, "ack", ref="k2", failed=[failure, {"code": "bad_body", "text": "what?", "retryable": False}])
    [(key, refusal)] = replica.refused.items()
    assert (key, refusal.code, refusal.text, refusal.is_retryable) == (OTHER, "bad_id", "no", False)
    replica.opened()
    assert ask(replica) == [{"action": "subscribe", "body": [NAMES | {"version": "v1"}]}]


def test_refusal_of_what_is_asked_for_again(replica: Replica):
    """A refusal that arrives while the same key waits to be asked for again is of an earlier subscription."""
    replica.watch(OTHER)
    ask(replica)
    replica.forget(OTHER)
    replica.watch(OTHER)
    failure = {"entity": "orders", "id": "8", "code": "limit", "text": "no", "retryable": True}
    [question] = say(replica, "ack", ref="k2", failed=[failure])
    assert question == {"action": "subscribe", "body": [{"entity": "orders", "id": "8"}]}
    assert not replica.refused
    say(replica, "ack", ref="k3", failed=[failure])
    assert replica.refused[OTHER].is_retryable


def test_error_for_a_whole_subscribe_refuses_its_keys():
    """An error with the ref of a subscribe refuses all its keys."""
    replica = Replica()
    replica.watch(KEY)
    replica.watch(OTHER)
    [frame] = replica.take(LIMIT)
    say(replica, "error", ref=msgspec.json.decode(frame)["ref"], code="limit", text="no", retryable=True)
    assert list(replica.refused) == [KEY, OTHER]


def test_forgotten_key_is_not_held(replica: Replica):
    """After unsubscribing, frames of the key that were under way do nothing."""
    replica.forget(KEY)
    assert ask(replica) == [{"action": "unsubscribe", "body": [NAMES]}]
    for event in ("denied", "stale", "error"):
        say(replica, event, **NAMES, code="load", text="", reason="load", age_ms=1, retryable=True)
    snapshot(replica, {"n": 2}, "v2")
    current(replica, "v3")
    assert not replica.news
    replica.opened()
    assert ask(replica) == []


def test_a_copy_is_found_by_its_view_alone(replica: Replica):
    """What is said of a view concerns its copies, and nothing is held of views without any."""
    snapshot(replica, {"n": 2}, "v2", view=2)
    say(replica, "delta", view=1, base=1, rev=2, version="v3")
    assert (replica.state(KEY).version, list(replica._keys)) == ("v2", [2])
    say(replica, "denied", **NAMES, code="denied")
    assert replica._keys == {}
    snapshot(replica, {"n": 3}, "v3", view=3)
    replica.opened()
    assert replica._keys == {}
    snapshot(replica, {"n": 3}, "v3", view=4)
    replica.forget(KEY)
    assert replica._keys == {}
