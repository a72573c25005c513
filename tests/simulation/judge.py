"""What must hold in a world: at every moment, after a gap, and in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING

from entity_sync.core.envelope import CONTROL
from entity_sync.core.outbox import Outbox
from entity_sync.core.subscription import ClassicSubscription, V2Subscription
from entity_sync.core.view import View
from entity_sync.hub.node import Node
from entity_sync.model import Change
from tests.simulation.shop import POISON, Shop

if TYPE_CHECKING:
    from tests.simulation.broker import FaultyBroker
    from tests.simulation.client import Copy, Link, SimulatedClient

_SILENCE = 20.0  # seconds after which what is old is either new or known to be old
_SILENCE_OF_THE_DEAD = 35.0  # the same where a node died with what it said last
_SILENCE_AT_HOME = 12.0  # the same for what the client's own node was told
_RESTORE = 16.0  # seconds from the last fault to the last word that something may be old: a probe is due
_COUNTED = ("items", "own")


class Judge:
    """Collects every broken promise.

    Attributes:
        has_deaths: a node died.
    """

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.violations: list[str] = []
        self.has_deaths = False
        self._accepted: dict[str, list[tuple[float, int]]] = {}
        self._notified: dict[Node, dict[str, list[tuple[float, int]]]] = {}
        self._allowed = dict.fromkeys(_COUNTED, 0)
        self._restored: dict[Node, float] = {}
        self._brokers: dict[Node, FaultyBroker] = {}
        self._said: dict[tuple[Link, tuple[str, str] | None], float] = {}

    def complain(self, text: str) -> None:
        self.violations.append(text)

    # What is noted

    def watch(self, node: Node, broker: FaultyBroker) -> None:
        """Note when a node begins to load again, and count the loads that it has a reason for."""
        self._brokers[node] = broker
        hub, heard = node.hub, set[tuple[object, ...]]()
        changed, ask, classic, settled = hub.changed, hub.ask, hub._subscribe_classic, node.link._settled

        def counting_changed(change: Change) -> int:
            for view in hub.views.of(change.key):
                if (view, *change.causes) not in heard:
                    heard.add((view, *change.causes))
                    self._allow(change.key.entity)
            return changed(change)

        def counting_ask(subscription: V2Subscription, version: str | None) -> None:
            view = subscription.view
            if view.version is None or version not in (None, view.version):
                self._allow(view.key.entity)
            ask(subscription, version)

        def counting_classic(view: View, outbox: Outbox, since: int) -> ClassicSubscription:
            self._allow(view.key.entity)
            return classic(view, outbox, since)

        def timing_settled() -> None:
            restored = node.link._restored
            if CONTROL in restored or restored.issuperset(_COUNTED):
                self._restored[node] = asyncio.get_running_loop().time()
            settled()

        hub.changed, hub.ask = counting_changed, counting_ask  # type: ignore[method-assign]
        hub._subscribe_classic, node.link._settled = counting_classic, timing_settled  # type: ignore[method-assign]

    def _allow(self, entity: str) -> None:
        if entity in self._allowed:
            self._allowed[entity] += 1

    def notified(self, node: Node, id: str, serial: int) -> None:
        """A node was told of the commit with number ``serial``."""
        now = asyncio.get_running_loop().time()
        self._notified.setdefault(node, {}).setdefault(id, []).append((now, serial))

    def accepted(self, id: str, serial: int) -> None:
        """The broker has a notify of what was committed as number ``serial``."""
        now = asyncio.get_running_loop().time()
        self._accepted.setdefault(id, []).append((now, serial))

    # What must hold at every moment

    async def probe(self, clients: Sequence[SimulatedClient]) -> None:
        """No client shows, unaware of it, what has been old for long, nor doubts for long what is new."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)
            bound = _SILENCE_OF_THE_DEAD if self.has_deaths else _SILENCE
            for client in clients:
                self._note_doubts(client)
                if client.is_certain and client.link is not None:
                    at_home = self._notified.get(client.link.node, {})
                    self._compare(client, self._accepted, loop.time() - bound, "is silently stale")
                    self._compare(
                        client,
                        at_home,
                        loop.time() - _SILENCE_AT_HOME,
                        "is silently stale where it was notified",
                    )

    def _note_doubts(self, client: SimulatedClient) -> None:
        """Whether it says that something may be old although nothing has gone wrong for long."""
        link, now = client.link, asyncio.get_running_loop().time()
        if link is None or not link.is_read:
            return
        well = self._brokers[link.node].well_since
        self._note_doubt(client, link, None, now, well if client.says_stale else now)
        for key, copy in client.copies.items():
            is_curable = copy.is_stale and key[1] != POISON and not link.node.is_closed
            self._note_doubt(client, link, key, now, self.shop.well_since if is_curable else now)

    def _note_doubt(
        self, client: SimulatedClient, link: Link, key: tuple[str, str] | None, now: float, well: float
    ) -> None:
        if well >= now:
            self._said.pop((link, key), None)
        elif now - max(well, self._said.setdefault((link, key), now)) > _RESTORE:
            what = "everything" if key is None else "/".join(key)
            self.complain(f"{client.name} says for too long that {what} may be stale")

    def restored(self, node: Node) -> float:
        """When a node began to load again what its broker's absence may have hidden; before that, never."""
        return self._restored.get(node, -inf)

    def fresh(self, client: SimulatedClient, restored: float) -> None:
        """A client is told that nothing may be old any more: it has what was known as the loads began."""
        self._compare(client, self._accepted, restored, "was called fresh", _COUNTED)

    def _compare(
        self,
        client: SimulatedClient,
        told: Mapping[str, list[tuple[float, int]]],
        until: float,
        what: str,
        entities: Collection[str] | None = None,
    ) -> None:
        """Whether the client shows what was told until a moment, where it takes that for true."""
        for (entity, id), copy in client.copies.items():
            if entity in ("lists", "reports") or (entities and entity not in entities):
                continue
            if copy.has_state and copy.is_answered and not copy.is_stale and copy.states:
                known = [serial for at, serial in told.get(id, ()) if at < until]
                if known and copy.states[id] < max(known):
                    self.complain(f"{client.name} {what}: {entity}/{id} at {copy.states}, after {max(known)}")

    # What must hold in the end

    def judge(self, clients: Sequence[SimulatedClient], *, counts: bool) -> None:
        """Everybody shows the truth, or knows why not, or may not see it.

        Args:
            counts: nothing went wrong, so that every load has a reason.
        """
        for client in clients:
            if client.wire == "v2":  # classic has no first state; what it was pushed was judged as it came
                self._judge(client)
        for entity in _COUNTED if counts else ():
            loads, allowed = self.shop.loads.get(entity, 0), self._allowed[entity]
            if loads > allowed:
                self.complain(f"{loads} loads of {entity}, and a reason for {allowed}")

    def _judge(self, client: SimulatedClient) -> None:
        if client.says_stale:
            self.complain(f"{client.name} still says it is stale")
        for (entity, id), copy in client.copies.items():
            if client.who in self.shop.revoked or not self.shop.may_see(client.who, entity, id):
                if copy.has_state:
                    self.complain(f"{client.name} ({client.who}) ends with {entity}/{id}, and may not see it")
            elif id == POISON:
                if not copy.is_stale:
                    self.complain(f"{client.name} ends with {entity}/{id} and was not told that it fails")
            else:
                self._judge_copy(client, entity, id, copy)

    def _judge_copy(self, client: SimulatedClient, entity: str, id: str, copy: Copy) -> None:
        expected = self.shop.newest(entity, id)
        is_gone = not expected and entity not in ("lists", "reports")
        if not copy.has_state or copy.states != expected or copy.is_gone != is_gone:
            shown = "gone" if copy.is_gone else copy.states
            self.complain(f"{client.name} ends with {entity}/{id} at {shown}, not {expected or is_gone}")
        if copy.is_stale:
            self.complain(f"{client.name} still says that {entity}/{id} is stale")
