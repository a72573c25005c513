"""One seeded world: a database, nodes, a faulty broker, clients, and what must hold in the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from entity_sync.clock import SystemClock
from entity_sync.core.rights import RIGHTS
from entity_sync.core.tags import canonical_tags
from entity_sync.errors import AccessDenied
from entity_sync.hub.node import Application, Node
from entity_sync.loading.catalog import Catalog
from entity_sync.loading.loader import Loader
from entity_sync.model import EntityKey, Reads, Row, Tags
from entity_sync.settings import Settings
from tests.simulation.broker import Bus, FaultyBroker
from tests.simulation.client import SimulatedClient
from tests.simulation.loop import run

_T = TypeVar("_T")
_LONG = "x" * 300  # so that differences are worth sending
_BUSY = 8.0  # seconds in which things happen
_CALM = 40.0  # seconds after which everything must be true
_SETTINGS = Settings(
    retry_delay=0.05,
    max_retry_delay=1.0,
    beat_interval=20.0,
    stale_after=60.0,
    alive_interval=3.0,
    authorize_ttl=10_000.0,  # what makes good for a lost revocation has to be something else
)


@dataclass(frozen=True)
class Habits:
    """What an application may do wrong, to show what it costs; all right by default."""

    notifies_before_commit: bool = False
    crashes_after_commit: bool = False
    restores_early: bool = False
    forgets_old_tags: bool = False


class World:
    """A run of the real hub under virtual time; `violations` is empty if every promise held."""

    def __init__(self, seed: int, habits: Habits) -> None:
        self.random = Random(seed)
        self.habits = habits
        self.violations: list[str] = []
        self.rows: dict[str, int | None] = {}
        self.kinds: dict[str, str] = {}
        self.ids: list[str] = []
        self.loads = 0
        self._serial = 0
        self.catalog = Catalog()
        self.catalog.add(Loader.of("items", self._items, per=None, public=True, timeout=2.0))
        self.catalog.add(Loader.of("own", self._own, per=None, public=False, timeout=2.0))
        self.catalog.add(Loader.of("reports", self._report, per=None, public=True, timeout=2.0))
        self.catalog.add(Loader.of("lists", self._list, per=None, public=True, timeout=2.0))
        self.catalog.add(
            Loader.of(
                "guarded",
                self._guarded,
                per=None,
                public=False,
                timeout=2.0,
                authorize=self._may_see,
                batch=2,
            )
        )
        self.forbidden: set[tuple[str, str]] = set()
        self.revoked: set[str] = set()
        self._judges: set[Node] = set()
        self.bus = Bus(self.random)
        self.nodes: list[Node] = []
        self.alive: list[Node] = []
        self.brokers: list[FaultyBroker] = []
        self.clients: list[SimulatedClient] = []
        self._notifying: dict[Node, int] = {}
        self._faults_until = _BUSY * self.random.choice((0.0, 0.5, 1.0))

    def complain(self, text: str) -> None:
        self.violations.append(text)

    # The application

    async def _items(self, id: str) -> dict[str, object] | None:
        return await self._read("items", id, "")

    async def _own(self, id: str, audience: str) -> dict[str, object] | None:
        return await self._read("own", id, audience)

    async def _report(self, id: str) -> list[object]:
        """A row that never changes, with an item that rides along."""
        item = await self._read("items", id, "")
        # Of a row that is not there nothing rides along: what would notice that it comes is the live query.
        return [{"text": _LONG}, Reads("items") if item is None else Row("items", id, item)]

    async def _list(self, kind: str) -> list[object]:
        """A live query: the items of a kind, which only the query itself depends on."""
        items = await self._slowly(lambda: self.items_of(kind))
        rows = [Row("items", id, {"n": n, "text": _LONG}, track=False) for id, n in items.items()]
        return [Reads("items", kind=kind), *rows]

    async def _guarded(self, ids: list[str]) -> dict[str, object]:
        """Several at once: what is missing is gone."""
        found = await self._slowly(lambda: {id: self.rows.get(id, 0) for id in ids})
        return {id: {"n": n, "text": _LONG} for id, n in found.items() if n is not None}

    async def _may_see(self, who: str, key: EntityKey) -> bool:
        may = (who, key.id) not in self.forbidden
        await asyncio.sleep(self.random.choice((0.0, 0.0, 0.2)))
        return may

    def items_of(self, kind: str) -> dict[str, int]:
        """The items of a kind and their states, as the database has them now."""
        states = {id: self.rows.get(id, 0) for id in self.ids if self.kinds.get(id, "x") == kind}
        return {id: n for id, n in states.items() if n is not None}

    async def _read(self, entity: str, id: str, audience: str) -> dict[str, object] | None:
        n = await self._slowly(lambda: self.rows.get(id, 0))
        return None if n is None else {"entity": entity, "id": id, "n": n, "for": audience, "text": _LONG}

    async def _slowly(self, read: Callable[[], _T]) -> _T:
        """Read the database at one moment of a load that takes a while, and may fail."""
        random = self.random
        self.loads += 1
        await asyncio.sleep(random.uniform(0, random.choice((0.02, 0.3))))
        found = read()
        fault = random.random() if asyncio.get_running_loop().time() < self._faults_until else 1.0
        if fault < 0.08:
            raise OSError("simulated")
        if fault < 0.12:
            await asyncio.sleep(10.0)
        await asyncio.sleep(random.uniform(0, random.choice((0.02, 0.3, 1.5, 1.5))))
        return found

    async def _authenticate(self, secret: str | None, _connection: object) -> str:
        is_out = secret == "bad" or (secret or "") in self.revoked
        await asyncio.sleep(self.random.choice((0.0, 0.2)))
        if is_out:
            raise AccessDenied
        return secret or ""

    # What happens

    async def live(self) -> None:
        random = self.random
        brokers = self.brokers = [
            FaultyBroker(self.bus, restores_early=self.habits.restores_early)
            for _ in range(random.choice((2, 2, 3)))
        ]
        self.nodes = [Node(self._application(), broker) for broker in brokers]
        for node in self.nodes:
            await node.start()
        self.alive = list(self.nodes)
        ids = self.ids = ["1", "2"][: random.choice((1, 1, 2))]
        jobs = [self._commits(id) for id in ids]
        jobs += [self._outages(broker) for broker in brokers]
        jobs += [self._silent_losses(), self._rights(ids)]
        jobs += [self._client(number, ids) for number in range(random.choice((2, 3)))]
        await asyncio.gather(*jobs)
        await asyncio.sleep(_CALM)
        self._judge()
        for client in self.clients:
            client.disconnect()
        for node in self.nodes:
            await node.close()

    def _application(self) -> Application:
        return Application(
            catalog=self.catalog,
            settings=_SETTINGS,
            clock=SystemClock(),
            random=self.random,
            authenticate=self._authenticate,
        )

    async def _commits(self, id: str) -> None:
        random = self.random
        for _ in range(random.randrange(1, 7)):
            await asyncio.sleep(random.expovariate(1.0))
            node = random.choice(self.alive)
            keys = [EntityKey("items", id), EntityKey("own", id), EntityKey("guarded", id)]
            new = random.choice("xy")
            kinds = {new} if self.habits.forgets_old_tags else {self.kinds.get(id, "x"), new}
            tags = random.choice((None, canonical_tags({"kind": kinds})))
            if self.habits.notifies_before_commit:
                await self._notify(node, keys, tags)
                await asyncio.sleep(random.uniform(0, 0.5))
            self._serial += 1
            self.kinds[id] = new
            self.rows[id] = None if random.random() < 0.1 else self._serial
            if not self.habits.notifies_before_commit:
                await asyncio.sleep(random.uniform(0, 0.1))
                if not (self.habits.crashes_after_commit and random.random() < 0.1):
                    await self._notify(node if node in self.alive else self.alive[0], keys, tags)

    async def _rights(self, ids: list[str]) -> None:
        """Somebody may see what was forbidden, or the reverse, or is nobody; then the nodes are told."""
        random = self.random
        for _ in range(random.choice((0, 0, 1, 3))):
            await asyncio.sleep(random.uniform(0, _BUSY / 2))
            who, node = random.choice(("", "a", "b")), random.choice(self.alive)
            self._judges.add(node)
            self._notifying[node] = self._notifying.get(node, 0) + 1
            if random.random() < 0.3:
                self.revoked.add(who)
                await node.revoke(who)
            else:
                self.forbidden ^= {(who, random.choice(ids))}
                await node.reauthorize(who)
            self._notifying[node] -= 1

    async def _notify(self, node: Node, keys: list[EntityKey], tags: Tags | None) -> None:
        self._notifying[node] = self._notifying.get(node, 0) + 1
        await node.notify(keys, tags)
        self._notifying[node] -= 1
        if self.random.random() < 0.1 and node in self.alive and self._may_die(node):
            self._die(node)

    async def _outages(self, broker: FaultyBroker) -> None:
        random = self.random
        for _ in range(random.choice((0, 1, 2))):
            await asyncio.sleep(random.uniform(0, _BUSY / 3))
            if random.random() < 0.3:
                await broker.swallow(random.uniform(0.1, 12.0))
            else:
                await broker.cut(random.uniform(0.1, 2.0))

    async def _silent_losses(self) -> None:
        """The broker, or its client, loses messages and says nothing; others come twice."""
        random = self.random
        await asyncio.sleep(random.uniform(0, _BUSY))
        self.bus.loss, self.bus.doubling = random.choice((0.0, 0.0, 0.1, 0.5)), random.choice((0.0, 0.2))
        await asyncio.sleep(random.uniform(0, _BUSY / 2))
        self.bus.loss = self.bus.doubling = 0.0

    def _may_die(self, node: Node) -> bool:
        """Whether nothing dies with it that was never promised: keys it keeps, and names its peers never
        heard it speak of."""
        others = [other.link for other in self.alive if other is not node]
        spoken = {"items", "own", "guarded"} | ({RIGHTS} if node in self._judges else set())
        is_known = all(link.gaps.knows(node.link.source) >= spoken for link in others)
        return is_known and bool(others) and node.link.outgoing.idle and not self._notifying.get(node)

    def _die(self, node: Node) -> None:
        """Right after a notify, some of what the broker accepted last is lost with it."""
        self.alive.remove(node)
        self.brokers[self.nodes.index(node)].die()
        for client in self.clients:
            if client.is_on(node):
                client.disconnect()
                client.connect(self.random.choice(self.alive))

    async def _client(self, number: int, ids: list[str]) -> None:
        random = self.random
        wire = "classic" if random.random() < 0.15 else "v2"
        keys = [(entity, id) for id in ids for entity in ("items", "own") if random.random() < 0.7] or [
            ("items", ids[0])
        ]
        if wire == "v2":
            keys += [("guarded", id) for id in ids if random.random() < 0.5]
            keys += [("reports", id) for id in ids if random.random() < 0.4]
            keys += [("lists", kind) for kind in "xy" if random.random() < 0.4]
        client = SimulatedClient(self, f"client {number}", wire, keys, who=random.choice(("", "a", "b")))
        self.clients.append(client)
        await asyncio.sleep(random.uniform(0, _BUSY / 2))
        client.connect(random.choice(self.alive))
        for _ in range(random.randrange(0, 7) if wire == "v2" else 0):
            await asyncio.sleep(random.uniform(0, _BUSY / 4))
            deeds = (self._move, self._hop, self._hop, self._become, self._slow, self._again)
            await random.choice(deeds)(client)

    async def _move(self, client: SimulatedClient) -> None:
        client.disconnect()
        await asyncio.sleep(self.random.choice((0.0, 0.0, 0.3)))
        client.connect(self.random.choice(self.alive))

    async def _hop(self, client: SimulatedClient) -> None:
        """To another node, with news that the other one may not have yet."""
        client.news.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.news.wait(), 3.0)
        client.disconnect()
        client.connect(self.random.choice(self.alive))

    async def _become(self, client: SimulatedClient) -> None:
        who = self.random.choice(("a", "b", "c", "bad"))
        client.become(who)
        if who == "bad":
            await asyncio.sleep(0.5)
            client.become("a")

    async def _slow(self, client: SimulatedClient) -> None:
        client.stall(True)
        await asyncio.sleep(self.random.uniform(0, 2.0))
        client.stall(False)

    async def _again(self, client: SimulatedClient) -> None:
        client.repeat_subscribe(self.random.choice(client.keys))

    # What must hold

    def _judge(self) -> None:
        for client in self.clients:
            if client.wire == "classic":
                continue  # it has no first state; what it was pushed was judged when it came
            if client.says_stale:
                self.complain(f"{client.name} still says it is stale")
            for key, copy in client.copies.items():
                expected = self._expected(*key)
                if client.who in self.revoked or (
                    key[0] == "guarded" and (client.who, key[1]) in self.forbidden
                ):
                    if copy.has_state:
                        self.complain(f"{client.name} ({client.who}) ends with {key}, which it may not see")
                elif not copy.has_state or copy.states != expected:
                    self.complain(f"{client.name} ends with {key} at {copy.states}, not {expected}")

    def _expected(self, entity: str, id: str) -> dict[str, int]:
        if entity == "lists":
            return self.items_of(id)
        newest = self.rows.get(id, 0)
        return {} if newest is None else {id: newest}


def explore(seed: int, habits: Habits | None = None) -> list[str]:
    """Run one world; returns the promises it broke."""
    world = World(seed, habits or Habits())
    _, failures = run(world.live())
    return world.violations + [f"the loop's exception handler got: {failure}" for failure in failures]
