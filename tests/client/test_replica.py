"""The client's copies, without a socket."""

from __future__ import annotations

from typing import Any

import pytest

from entity_sync.client.replica import Refusal, Replica, Row
from entity_sync.model import EntityKey

KEY = EntityKey("orders", "7")
NAMES = {"entity": "orders", "id": "7"}


def snapshot(data: Any, version: str, *, view: int = 1, rev: int = 1) -> dict[str, Any]:
    rows = [] if data is None else [{"data": data}]
    return {
        "event": "snapshot",
        "view": view,
        "rev": rev,
        "version": version,
        "rows": rows,
        "gone": data is None,
    } | NAMES


def held(version: str = "v1") -> Replica:
    replica = Replica()
    replica.subscribe(KEY)
    replica.opened()
    replica.silent(False)
    replica.receive(snapshot({"n": 1}, version))
    return replica


def test_snapshot_is_shown():
    """A snapshot's rows are shown under the view's own key, and are news."""
    replica = held()
    state = replica.state(KEY)
    assert state.rows == (Row("orders", "7", {"n": 1}),)
    assert state.data == {"n": 1}
    assert (state.version, state.is_stale, state.is_gone) == ("v1", False, False)
    assert list(replica.news) == [KEY]


def test_gone_is_no_empty_list():
    """A key that is gone is shown as gone, without rows."""
    replica = held()
    replica.receive(snapshot(None, "v2"))
    state = replica.state(KEY)
    assert state.is_gone
    assert state.data is None


def test_reconnect_resumes_by_version():
    """The next connection is told the version held, and what is shown is stale until it answers."""
    replica = held()
    replica.silent(True)
    assert replica.opened() == [{"action": "subscribe", "body": [NAMES | {"version": "v1"}]}]
    replica.silent(False)
    assert replica.state(KEY).is_stale
    assert replica.state(KEY).data == {"n": 1}
    replica.receive({"event": "current", "view": 2, "rev": 9, "version": "v1"} | NAMES)
    assert not replica.state(KEY).is_stale


def test_current_of_another_version_asks():
    """A current with another version keeps the rows and asks for the view whole."""
    replica = held()
    answer = replica.receive({"event": "current", "view": 2, "rev": 9, "version": "v9"} | NAMES)
    assert answer == [{"action": "resync", "body": {"view": 2, "rev": 9}}]
    assert replica.state(KEY).data == {"n": 1}


def test_delta_asks_for_the_whole():
    """A delta, which this client does not apply, is answered by asking for the view whole."""
    replica = held()
    answer = replica.receive({"event": "delta", "view": 1, "base": 1, "rev": 2, "version": "v2"})
    assert answer == [{"action": "resync", "body": {"view": 1, "rev": 2}}]


def test_nothing_between_secret_and_ack():
    """What comes between a secret and its answer is discarded: it is another principal's."""
    replica = held()
    replica.discard()
    replica.receive(snapshot({"n": 2}, "v2"))
    assert replica.receive({"event": "current", "view": 1, "rev": 2, "version": "v2"} | NAMES) == []
    assert replica.receive({"event": "delta", "view": 1, "base": 1, "rev": 2, "version": "v2"}) == []
    assert replica.state(KEY).data == {"n": 1}
    replica.identified()
    replica.receive(snapshot({"n": 3}, "v3"))
    assert replica.state(KEY).data == {"n": 3}


def test_denied_drops_the_copy():
    """A denied key is shown as denied, without rows, and resumes without a version."""
    replica = held()
    replica.receive({"event": "denied", "code": "denied"} | NAMES)
    assert replica.state(KEY).is_denied
    assert replica.state(KEY).rows == ()
    assert replica.opened() == [{"action": "subscribe", "body": [NAMES]}]


@pytest.mark.parametrize(
    ("stale", "fresh"),
    [
        ({"event": "stale", "reason": "broker", "age_ms": 1}, {"event": "fresh"}),
        ({"event": "stale", "reason": "load", "age_ms": 1, "view": 1} | NAMES, {"event": "fresh", "view": 1}),
    ],
)
def test_stale_and_fresh(stale: dict[str, Any], fresh: dict[str, Any]):
    """Stale, of the connection or of a view, is shown until fresh, and both are news."""
    replica = held()
    for message, expected in ((stale, True), (fresh, False)):
        replica.news.clear()
        replica.receive(message)
        assert replica.state(KEY).is_stale is expected
        assert list(replica.news) == [KEY]


def test_silence_is_stale():
    """A connection that says nothing makes everything stale, once."""
    replica = held()
    replica.news.clear()
    replica.silent(True)
    replica.silent(True)
    assert replica.state(KEY).is_stale
    assert list(replica.news) == [KEY]


def test_refused_subscription_raises():
    """A key that the server refuses raises its code, and no other key is disturbed."""
    replica = held()
    other = EntityKey("orders", "x")
    replica.subscribe(other)
    failure = {"entity": "orders", "id": "x", "code": "bad_id", "text": "no", "retryable": False}
    replica.receive({"event": "ack", "failed": [failure]})
    with pytest.raises(Refusal, match="bad_id: no") as refusal:
        replica.state(other)
    assert refusal.value.code == "bad_id"
    assert replica.state(KEY).data == {"n": 1}


@pytest.mark.parametrize(
    "message", [{"event": "novelty", "x": 1}, {}, {"event": 5}, {"event": "beat", "link_ms": 1}]
)
def test_unknown_is_ignored(message: dict[str, Any]):
    """An event or member that this client does not know changes nothing."""
    replica = held()
    before = replica.state(KEY)
    assert replica.receive(message) == []
    assert replica.state(KEY) == before


def test_forgotten_key_is_not_held():
    """After unsubscribing, frames of the key that were under way do nothing."""
    replica = held()
    assert replica.unsubscribe(KEY) == {"action": "unsubscribe", "body": NAMES}
    replica.receive(snapshot({"n": 2}, "v2"))
    assert replica.opened() == []
