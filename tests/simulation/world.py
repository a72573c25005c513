"""One seeded world: nodes over a faulty broker, clients that come, go and change, and a shop that commits."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from random import Random

from entity_sync.clock import SystemClock
from entity_sync.core.recent import Recent
from entity_sync.core.rights import RIGHTS
from entity_sync.core.tags import canonical_tags
from entity_sync.hub.node import Application, Node
from entity_sync.model import EntityKey, Tags
from entity_sync.settings import Settings
from tests.simulation.broker import Bus, FaultyBroker
from tests.simulation.client import SimulatedClient
from tests.simulation.judge import Judge
from tests.simulation.loop import run
from tests.simulation.shop import POISON, Shop

_BUSY = 8.0  # seconds in which things happen
_CALM = 32.0  # seconds after which everything must be true
_NOTIFIED = ("items", "own", "guarded", "paced", "copies")
_SETTINGS = Settings(
    retry_delay=0.05,
    max_retry_delay=1.0,
    max_breaker_pause=10.0,
    beat_interval=20.0,
    stale_after=60.0,
    alive_interval=2.0,
    slow_timeout=3.0,
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
        random = self.random = Random(seed)
        self.habits = habits
        self.is_quiet = random.random() < 0.1  # nothing goes wrong: what is done is counted
        self.shop = Shop(random)
        self.judge = Judge(self.shop)
        self.settings = replace(
            _SETTINGS,
            max_deferred=random.choice((100_000, 100_000, 1)),
            fail_closed=random.random() < 0.2,
            breaker_failures=random.choice((1, 20)),
        )
        if not self.is_quiet and random.random() < 0.25:  # room for one view or two
            self.settings = replace(self.settings, max_view_bytes=2_000, view_memory=2_000)
        self.bus = Bus(random)
        self.nodes: list[Node] = []
        self.alive: list[Node] = []
        self.brokers: list[FaultyBroker] = []
        self.clients: list[SimulatedClient] = []
        self._judges: set[Node] = set()
        self._notifying: dict[Node, int] = {}
        if not self.is_quiet:
            self.shop.faults_until = _BUSY * random.choice((0.0, 0.5, 1.0))

    @property
    def violations(self) -> list[str]:
        return self.judge.violations

    async def live(self) -> None:
        random = self.random
        brokers = self.brokers = [
            FaultyBroker(self.bus, restores_early=self.habits.restores_early)
            for _ in range(random.choice((2, 2, 3)))
        ]
        self.nodes = [Node(self._application(), broker) for broker in brokers]
        for node, broker in zip(self.nodes, brokers, strict=True):
            if random.random() < 0.2:
                node.hub.recent = Recent(limit=1)
            self.judge.watch(node, broker)
            await node.start()
        self.alive = list(self.nodes)
        ids = self.shop.ids = ["1", "2"][: random.choice((1, 2))]
        jobs = [self._commits(id) for id in ids]
        jobs += [self._client(number, ids) for number in range(random.choice((2, 3)))]
        if not self.is_quiet:
            jobs += [self._outages(broker) for broker in brokers]
            jobs += [self._silent_losses(), self._rights(ids), self._database()]
        probes = asyncio.ensure_future(self.judge.probe(self.clients))
        await asyncio.gather(*jobs)
        await asyncio.sleep(_CALM)
        probes.cancel()
        self.judge.judge(self.clients, counts=self.is_quiet)
        for client in self.clients:
            client.disconnect()
        for node in self.nodes:
            await node.close()

    def _application(self) -> Application:
        return Application(
            catalog=self.shop.catalog,
            settings=self.settings,
            clock=SystemClock(),
            random=self.random,
            authenticate=self.shop.authenticate,
        )

    # What the application does

    async def _commits(self, id: str) -> None:
        random, shop = self.random, self.shop
        for _ in range(random.randrange(1, 7)):
            await asyncio.sleep(random.expovariate(1.0))
            node = random.choice(self.alive)
            new = random.choice("xy")
            kinds = {new} if self.habits.forgets_old_tags else {shop.kinds.get(id, "x"), new}
            tags = random.choice((None, canonical_tags({"kind": kinds})))
            if self.habits.notifies_before_commit:
                await self._notify(node, id, tags, shop.serial, None)
                await asyncio.sleep(random.uniform(0, 0.5))
            serial, n = shop.commit(id, new)
            if not self.habits.notifies_before_commit:
                await asyncio.sleep(random.uniform(0, random.choice((0.1, 0.1, 1.0))))
                if not (self.habits.crashes_after_commit and random.random() < 0.1):
                    await self._notify(node if node in self.alive else self.alive[0], id, tags, serial, n)

    async def _notify(self, node: Node, id: str, tags: Tags | None, serial: int, n: int | None) -> None:
        self._notifying[node] = self._notifying.get(node, 0) + 1
        if not self.habits.notifies_before_commit:
            self.judge.notified(node, id, serial)
        receipt = await node.notify([EntityKey(entity, id) for entity in _NOTIFIED], tags, n)
        self._notifying[node] -= 1
        if receipt.status == "accepted":
            self.judge.accepted(id, serial)
        if not self.is_quiet and self.random.random() < 0.1 and node in self.alive and self._may_die(node):
            self._die(node)

    async def _rights(self, ids: list[str]) -> None:
        """Somebody may see what was forbidden, or the reverse, or is nobody; then the nodes are told."""
        random, shop = self.random, self.shop
        for _ in range(random.choice((0, 0, 1, 3))):
            await asyncio.sleep(random.uniform(0, _BUSY / 2))
            who, node = random.choice(("", "a", "b")), random.choice(self.alive)
            self._judges.add(node)
            self._notifying[node] = self._notifying.get(node, 0) + 1
            if random.random() < 0.3:
                shop.revoked.add(who)
                await node.revoke(who)
            else:
                shop.forbidden ^= {(who, random.choice(ids))}
                await node.reauthorize(who)
            self._notifying[node] -= 1

    # What goes wrong

    async def _outages(self, broker: FaultyBroker) -> None:
        random = self.random
        for _ in range(random.choice((0, 1, 2))):
            await asyncio.sleep(random.uniform(0, _BUSY / 3))
            if random.random() < 0.3:
                await broker.swallow(random.uniform(0.1, 12.0))
            else:
                await broker.cut(random.choice((random.uniform(0.1, 2.0),) * 19 + (30.0,)))

    async def _silent_losses(self) -> None:
        """The broker, or its client, loses messages and says nothing; others come twice."""
        random = self.random
        await asyncio.sleep(random.uniform(0, _BUSY))
        loss, doubling = random.choice((0.0, 0.0, 0.1, 0.5)), random.choice((0.0, 0.2))
        await self.bus.lose(loss, doubling, random.uniform(0, _BUSY / 2))

    async def _database(self) -> None:
        """For a while no load of one entity succeeds."""
        random = self.random
        if random.random() < 0.25:
            await asyncio.sleep(random.uniform(0, _BUSY / 2))
            await self.shop.go_down(
                random.choice(("items", "own", "paced", "guarded")), random.choice((5.0, 25.0))
            )

    def _may_die(self, node: Node) -> bool:
        """Whether nothing dies with it that was never promised: keys it keeps, and names its peers never
        heard it speak of."""
        others = [other.link for other in self.alive if other is not node]
        spoken = {*_NOTIFIED} | ({RIGHTS} if node in self._judges else set())
        is_known = all(link.gaps.knows(node.link.source) >= spoken for link in others)
        return is_known and bool(others) and node.link.outgoing.idle and not self._notifying.get(node)

    def _die(self, node: Node) -> None:
        """Right after a notify, some of what the broker accepted last is lost with it."""
        self.alive.remove(node)
        self.judge.has_deaths = True
        self.brokers[self.nodes.index(node)].die()
        for client in self.clients:
            if client.is_on(node):
                client.disconnect()
                client.connect(self.random.choice(self.alive))

    # What clients do

    async def _client(self, number: int, ids: list[str]) -> None:
        random = self.random
        wire = "classic" if random.random() < 0.15 else "v2"
        keys = self._wanted(wire, ids)
        client = SimulatedClient(self.judge, f"client {number}", wire, keys, random.choice(("", "a", "b")))
        self.clients.append(client)
        await asyncio.sleep(random.uniform(0, _BUSY / 2))
        client.connect(random.choice(self.alive))
        for _ in range(random.randrange(0, 7) if wire == "v2" else 0):
            await asyncio.sleep(random.uniform(0, _BUSY / 4))
            deeds = (self._move, self._hop, self._hop, self._become, self._slow, self._again)
            await random.choice(deeds)(client)

    def _wanted(self, wire: str, ids: list[str]) -> list[tuple[str, str]]:
        def some(entities: tuple[str, ...], ids: list[str], share: float) -> list[tuple[str, str]]:
            return [(entity, id) for id in ids for entity in entities if self.random.random() < share]

        keys = some(("items", "own"), ids, 0.7) or [("items", ids[0])]
        if wire == "v2":
            keys += some(("guarded", "reports", "copies"), ids, 0.5) + some(("paced",), ids, 0.2)
            keys += some(("lists",), ["x", "y"], 0.4)
            keys += [] if self.is_quiet else some(("guarded",), [POISON], 0.1)
        return keys

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
        """It reads nothing for a while; where that is too long, the node ends it, and it comes again."""
        random, most = self.random, self.settings.slow_timeout
        seconds = random.choice((random.uniform(0, most - 0.5),) * 9 + (most + 0.5,))
        link = client.link
        client.stall(True)
        await asyncio.sleep(seconds)
        if seconds > most and link is not None and link is client.link:
            if link.is_open:
                self.judge.complain(f"{client.name} read nothing for {seconds} s and was not closed")
            client.disconnect()
            client.connect(random.choice(self.alive))
        elif link is not None:
            link.stall(False)

    async def _again(self, client: SimulatedClient) -> None:
        client.repeat_subscribe(self.random.choice(client.keys))


def explore(seed: int, habits: Habits | None = None) -> list[str]:
    """Run one world; returns the promises it broke."""
    world = World(seed, habits or Habits())
    _, failures = run(world.live())
    return world.violations + [f"the loop's exception handler got: {failure}" for failure in failures]
