"""The server's differences and the client's way of applying them are one another's reverse."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings

from entity_sync.client.incoming import Delta, decode
from entity_sync.client.rows import applied
from entity_sync.client.state import Row
from entity_sync.core.delta import difference
from entity_sync.model import EntityKey
from tests.core.states import STATES, Rows, loaded

OWN = EntityKey("reports", "1")


def shown(rows: Rows) -> tuple[Row, ...]:
    """What a client holds of a state."""
    return tuple(Row(*(key or OWN), data) for key, data in rows)


def received(found: Any) -> Delta:
    """The delta as it arrives."""
    message = {"event": "delta", "view": 1, "base": 1, "rev": 2, "version": "v", **found._asdict()}
    [delta] = decode(msgspec.json.encode(message).decode())
    assert isinstance(delta, Delta)
    return delta


@settings(deadline=None)
@given(STATES, STATES)
def test_any_state_becomes_any_other(old: Rows, new: Rows):
    """Whatever rows come, go, move and change: the client's rows are the server's."""
    assert applied(OWN, shown(old), received(difference(loaded(old), loaded(new)))) == shown(new)
