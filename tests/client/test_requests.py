"""What waits to be asked, without a socket."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from entity_sync.client.requests import Requests
from entity_sync.model import EntityKey

KEY = EntityKey("orders", "7")
LIMIT = 65_536


def unversioned(_key: EntityKey) -> str | None:
    return None


def taken(requests: Requests, limit: int = LIMIT) -> list[Any]:
    return [msgspec.json.decode(frame) for frame in requests.take(limit, unversioned)]


def test_the_last_word_about_a_key_counts():
    """Of subscribe and unsubscribe of one key, however often, one is sent: the last."""
    requests = Requests()
    for _ in range(1_000):
        requests.subscribe(KEY)
        requests.unsubscribe(KEY)
    assert [frame["action"] for frame in taken(requests)] == ["unsubscribe"]
    assert taken(requests) == []


def test_one_resync_for_a_view():
    """A view is asked for whole once, from the newest rev."""
    requests = Requests()
    requests.resync(1, 2)
    requests.resync(1, 3)
    assert taken(requests) == [{"action": "resync", "body": {"view": 1, "rev": 3}}]


def test_answer_names_its_keys_once():
    """A ref leads back to the keys of its subscribe until it was answered; other refs to none."""
    requests = Requests()
    requests.subscribe(KEY)
    [frame] = taken(requests)
    assert requests.answered(frame["ref"]) == (KEY,)
    assert requests.answered(frame["ref"]) == ()
    assert requests.answered(1) == requests.answered(None) == ()


def test_answer_to_what_was_asked_again():
    """An answer no longer speaks of keys that were asked for again, or are about to be."""
    requests = Requests()
    requests.subscribe(KEY)
    requests.subscribe(EntityKey("orders", "8"))
    [first] = taken(requests)
    requests.subscribe(KEY)
    [second] = taken(requests)
    assert requests.answered(first["ref"]) == (EntityKey("orders", "8"),)
    requests.subscribe(KEY)
    assert requests.answered(second["ref"]) == ()
    [third] = taken(requests)
    assert requests.answered(third["ref"]) == (KEY,)


def test_a_new_connection_is_asked_for_all():
    """Starting over asks for what is held, and for nothing that the last connection was to be asked."""
    requests = Requests()
    requests.unsubscribe(EntityKey("orders", "8"))
    requests.resync(1, 2)
    requests.start_over([KEY])
    assert [(frame["action"], frame["body"]) for frame in taken(requests)] == [
        ("subscribe", [{"entity": "orders", "id": "7"}])
    ]


@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=60), unique=True, max_size=60),
    st.integers(1_000, 4_000),
    st.booleans(),
)
def test_frames_fit(ids: list[str], limit: int, is_wanted: bool):
    """Every key is asked for once, in order, in frames that the server reads, whatever the ids are."""
    requests = Requests()
    for id in ids:
        (requests.subscribe if is_wanted else requests.unsubscribe)(EntityKey("orders", id))
    frames = requests.take(limit, lambda _key: "v" * 22)
    assert all(len(frame) <= limit for frame in frames)
    asked = [element["id"] for frame in frames for element in msgspec.json.decode(frame)["body"]]
    assert asked == ids


def test_so_many_keys_in_a_frame_as_are_answered_each():
    """A server says of the first hundred wrong keys of a subscribe what is wrong with each."""
    requests = Requests()
    for number in range(250):
        requests.subscribe(EntityKey("items", str(number)))
    frames = [msgspec.json.decode(frame) for frame in requests.take(1_000_000, lambda _key: None)]
    assert [len(frame["body"]) for frame in frames] == [100, 100, 50]
