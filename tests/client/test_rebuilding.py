"""The real server and the real replica: whatever happens between them, the rows are the server's."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync import EntitySync, Row
from entity_sync.client.incoming import Delta, decode
from entity_sync.client.replica import Replica
from entity_sync.core import history
from entity_sync.model import ConnectionInfo, EntityKey
from entity_sync.testing import MemoryClient, settled
from tests.core.states import STATES, Rows
from tests.simulation.loop import run

OWN = EntityKey("lists", "1")
SENDABLE = STATES.map(lambda rows: [row for row in rows if not isinstance(row[1], list | None)])
DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("state"), SENDABLE),
        st.tuples(st.sampled_from(["drop", "stall", "read", "rev"]), st.just([])),
    ),
    max_size=30,
)


class Follower:
    """A client that keeps its copy over connections, which are slow or lost whenever the test says so."""

    def __init__(self, sync: EntitySync) -> None:
        self.replica = Replica()
        self.replica.watch(OWN)
        self.deltas = 0
        self._sync = sync
        self.connect()

    def connect(self) -> None:
        """Lose what was on its way, and come again with the version that is held."""
        self._client = MemoryClient.of(self._sync, ConnectionInfo("v2"))
        self._seen = 0
        self.replica.opened()

    def drop(self) -> None:
        self._client.leave()
        self.connect()

    def stall(self) -> None:
        self._client.stall()

    def read(self) -> None:
        self._client.resume()

    def rev(self) -> None:
        """Ask for what leads from an old rev, as a client may that lost count."""
        copy = self.replica._copies[OWN]
        if copy.view is not None:
            copy.rev = max(0, copy.rev - 2)

    async def talk(self) -> None:
        """Until neither side has anything to say."""
        while True:
            frames = self.replica.take(65_536)
            for frame in frames:
                await self._client.send(frame.decode())
            await settled(self._sync)
            new = self._client.received[self._seen :]
            self._seen += len(new)
            for message in (message for text in new for message in decode(text)):
                self.deltas += isinstance(message, Delta)
                self.replica.receive(message)
            if not (frames or new):
                return


def expected(rows: Rows) -> list[tuple[EntityKey, Any]]:
    return [(key or OWN, data) for key, data in rows]


async def follow(deeds: list[tuple[str, Rows]]) -> int:
    state: Rows = []
    sync = EntitySync()

    @sync.entity("lists")
    async def load(id: str) -> Any:
        for key, data in state:
            entity, id = key or OWN
            yield Row(entity, id, data)

    async with sync:
        follower = Follower(sync)
        for deed, rows in deeds:
            if deed == "state":
                state = rows
                await sync.notify("lists", "1")
            else:
                getattr(follower, deed)()
            await follower.talk()
        follower.read()
        await follower.talk()
        shown = follower.replica.state(OWN)
        assert [(EntityKey(row.entity, row.id), row.data) for row in shown.rows] == expected(state)
        return follower.deltas


@settings(deadline=None)
@given(DEEDS)
def test_rows_are_rebuilt(deeds: list[tuple[str, Rows]]):
    """Any sequence of states, drops, slow phases and lost counts leaves the server's rows, in their order."""
    with patch.object(history, "_WORTH", 0):
        _, failures = run(follow(deeds))
    assert failures == []


def test_it_is_by_deltas():
    """That test's client is sent deltas, not snapshots alone: else it would show nothing of them."""
    rows: Rows = [(EntityKey("orders", str(number)), {"a": number}) for number in range(9)]
    with patch.object(history, "_WORTH", 0):
        deltas, _ = run(follow([("state", rows), ("state", rows[1:]), ("state", rows[::-1])]))
    assert deltas >= 2
