"""Which deltas a view keeps, and when the whole state is less."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec

from entity_sync.core.history import History
from entity_sync.core.loaded import Loaded, LoadedRow
from entity_sync.model import EntityKey
from tests.core.states import Rows, loaded


def states(count: int, rows: int, padding: int) -> list[Loaded]:
    """States of which each differs from the one before in a member of its first row."""
    keys = [EntityKey("orders", str(id)) for id in range(rows)]
    return [
        loaded([(key, {"n": n if key is keys[0] else 0, "x": "x" * padding}) for key in keys])
        for n in range(count)
    ]


def told(history: History, rev: int, newest: int, state: Loaded) -> list[tuple[int, int]]:
    frames = [msgspec.json.decode(frame.payload) for frame in history.since(rev, newest, state)]
    return [(frame["base"], frame["rev"]) for frame in frames]


def followed(found: list[Loaded]) -> History:
    """The history of states that a session followed one by one; the first has rev 1."""
    history = History(42)
    for rev, (before, after) in enumerate(pairwise(found), 2):
        history.leave(before)
        assert told(history, rev - 1, rev, after) == [(rev - 1, rev)]
    return history


def test_the_last_eight():
    """Who missed up to eight states gets that many deltas, in order; who missed more, or none, gets none."""
    found = states(12, 1, 2_000)
    history = followed(found)
    for missed in range(1, 9):
        expected = [(rev, rev + 1) for rev in range(12 - missed, 12)]
        assert told(history, 12 - missed, 12, found[-1]) == expected
    assert told(history, 3, 12, found[-1]) == []
    assert told(history, 12, 12, found[-1]) == []


def test_many_small_rows_are_more_than_their_data():
    """A chain is sent while it is less than a snapshot, which names the key of every row."""
    found = states(9, 50, 0)
    history = followed(found)
    chain = history.since(1, 9, found[-1])
    assert len(chain) == 8
    assert sum(len(row.data) for row in found[-1].rows) < sum(map(len, chain))


def test_what_nobody_followed_is_not_kept():
    """A state that nobody was sent as a delta cannot be gone on from."""
    found = states(4, 1, 2_000)
    history = followed(found[:2])
    history.leave(found[1])
    history.leave(found[2])
    assert told(history, 3, 4, found[3]) == [(3, 4)]
    assert told(history, 2, 4, found[3]) == []
    assert told(history, 1, 4, found[3]) == []


def test_a_delta_says_everything():
    """Rows that go, come, change and change places are all in the frame that the sessions get."""

    def row(id: int, n: int = 0) -> tuple[EntityKey, dict[str, Any]]:
        return EntityKey("orders", str(id)), {"id": id, "n": n, "x": "x" * 200}

    before: Rows = [row(id) for id in range(20)]
    after: Rows = [row(3, n=1), *(row(id) for id in range(19, 3, -1)), row(20)]
    history = History(42)
    history.leave(loaded(before))
    newest = loaded(after)
    (frame,) = history.since(4, 5, newest)
    message = msgspec.json.decode(frame.payload)
    assert (message["event"], message["view"], message["base"], message["rev"]) == ("delta", 42, 4, 5)
    assert message["version"] == newest.version
    assert [one["id"] for one in message["drop"]] == ["0", "1", "2"]
    assert [(one["id"], one["set"]) for one in message["patch"]] == [("3", {"n": 1})]
    assert [one["id"] for one in message["put"]] == ["20"]
    assert [one["id"] for one in message["order"]] == [key.id for key, _ in after if key]


def test_small_states_are_sent_whole():
    """A state of less than 256 bytes of rows has no deltas, one of 256 has."""
    for padding, count in ((200, 0), (400, 1)):
        found = states(2, 1, padding)
        history = History(42)
        history.leave(found[0])
        assert len(history.since(1, 2, found[1])) == count


def test_a_chain_that_is_more_than_the_whole():
    """Who missed several states is sent the rows whole where that is less, and the deltas where those are."""
    found = states(9, 1, 500)
    history = followed(found)
    size = len(history.since(8, 9, found[-1])[0])
    missed = next(count for count in range(1, 9) if not history.since(9 - count, 9, found[-1]))
    assert 2 <= missed <= 8
    assert missed * size >= found[-1].size > (missed - 1) * size - 200
    assert len(history.since(9 - missed + 1, 9, found[-1])) == missed - 1


def test_an_id_that_is_no_text():
    """Half a character counts as one: nothing can be sent of such a row, but its size is asked before."""
    assert LoadedRow(b"1", b"1", EntityKey("orders", "\ud800")).size == len(
        '{"entity":"orders","id":"x","data":1},'
    )


def test_a_delta_that_is_more_than_the_whole_is_not_kept():
    """It would hold memory, and nobody is ever sent it."""
    many: Rows = [(EntityKey("orders", str(id)), {"x": "x" * 300}) for id in range(100)]
    history = History(42)
    history.leave(loaded(many))
    assert history.since(1, 2, loaded(many[:1])) == []
    assert history.held == 0
