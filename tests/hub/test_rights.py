"""Who may see what: `authorize`, `revoke`, `reauthorize`, and principals whose time ends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from entity_sync import AccessDenied, ConfigurationError, ConnectionInfo, EntityKey, EntitySync, Settings
from entity_sync.core.rights import Verdict, named
from entity_sync.hub.principals import Principals
from entity_sync.hub.rights import Question, Rights
from entity_sync.testing import FakeClock, MemoryClient, connect, settled
from tests.hub.held import all_but_asked
from tests.simulation.broker import Bus, FaultyBroker
from tests.simulation.loop import run


class User(NamedTuple):
    """Attributes: the key, and the end of its time in seconds since 1970."""

    key: str
    expires_at: Any = None


class Shop:
    """Orders that `may` says who may see; answers wait for the test where it says so."""

    def __init__(self, **options: Any) -> None:
        self.may: dict[tuple[str, str], object] = {}
        self.ends: dict[str, Any] = {}
        self.loads: list[str] = []
        self.asked: list[tuple[str, str]] = []
        self.known = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.may_know = asyncio.Event()
        self.may_know.set()
        self.sync = EntitySync(**options)
        self.sync.entity("orders", authorize=self.authorize)(self.load)
        self.sync.entity("news", public=True)(self.load)
        self.sync.authenticate(self.who)

    async def load(self, id: str) -> dict[str, Any] | None:
        self.loads.append(id)
        return None if id == "absent" else {"id": id, "n": len(self.loads)}

    async def authorize(self, user: User, key: EntityKey) -> Any:
        self.asked.append((user.key, key.id))
        await self.may_answer.wait()
        answer = self.may.get((user.key, key.id), False)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def who(self, secret: str | None, connection: ConnectionInfo) -> User:
        await self.may_know.wait()
        self.known += 1
        if secret is None or secret == "bad":
            raise AccessDenied
        return User(secret, self.ends.get(secret))


@pytest.fixture
async def shop():
    shop = Shop()
    shop.may["ann", "1"] = shop.may["ann", "2"] = True
    async with shop.sync:
        yield shop


def brief(client: MemoryClient) -> list[Any]:
    """Every pending message in a word, with the id it is about."""
    messages = client.pending()
    return [(one["event"], one["id"]) if "id" in one else one["event"] for one in messages]


# authorize


async def test_allowed_and_refused(shop: Shop):
    """Refused keys are denied after the ack, without a load; the others are served; absence shows no more."""
    async with connect(shop.sync, secret="ann") as client:
        await client.subscribe("orders", "1", "3", "absent")
        await settled(shop.sync)
        assert brief(client) == ["ack", ("denied", "3"), ("denied", "absent"), ("snapshot", "1")]
        assert shop.loads == ["1"]
        await shop.sync.notify("orders", "1", "3")
        await settled(shop.sync)
        assert brief(client) == [("snapshot", "1")]


class Panic(BaseException):
    """What some extension modules raise: no Exception."""


@pytest.mark.parametrize("error", [asyncio.CancelledError, Panic, GeneratorExit])
@pytest.mark.parametrize("form", ["plain", "async"])
async def test_authorize_that_raises_anything(form: str, error: type[BaseException]):
    """It denies and is asked again, wherever it is asked; what another is told does not depend on it."""
    clock = FakeClock()
    sync = EntitySync(clock=clock)
    is_broken = False

    def plain(_user: str, _key: EntityKey) -> bool:
        if is_broken:
            raise error
        return True

    async def may(user: str, key: EntityKey) -> bool:
        return plain(user, key)

    authorize: Any = plain if form == "plain" else may

    @sync.entity("orders", authorize=authorize)
    async def order(_id: str) -> int:
        return 1

    async with sync, connect(sync, secret="ann") as client, connect(sync, secret="ann") as other:
        for each in (client, other):
            await each.subscribe("orders", "1")
        await clock.advance(0)
        is_broken = True
        await sync.reauthorize("ann")
        await clock.advance(0)
        for each in (client, other):
            assert brief(each)[-1] == ("denied", "1")
        is_broken = False
        await clock.advance(10)
        for each in (client, other):
            assert ("snapshot", "1") in brief(each)


@pytest.mark.parametrize("answer", [ValueError("no database"), 1, None, "yes", AccessDenied()], ids=repr)
async def test_whatever_is_no_yes_is_a_no(shop: Shop, answer: object, caplog: pytest.LogCaptureFixture):
    """An authorize that raises, or returns something else than a bool, denies that key and no other."""
    shop.may["ann", "2"] = answer
    async with connect(shop.sync, secret="ann") as client:
        await client.subscribe("orders", "1", "2")
        await settled(shop.sync)
        assert brief(client) == ["ack", ("denied", "2"), ("snapshot", "1")]
    lines = [record for record in caplog.records if record.name == "entity_sync.authorize"]
    assert bool(lines) is not isinstance(answer, AccessDenied)


async def test_quick_authorize_and_one_that_returns_an_awaitable():
    """A plain function may answer at once, or hand over something that is awaited."""
    sync = EntitySync()

    async def later(user: str, key: EntityKey) -> bool:
        return key.id == "1"

    @sync.entity("quick", authorize=lambda user, key: key.id == "1")
    async def quick(id: str) -> int:
        return 1

    @sync.entity("handed", authorize=lambda user, key: later(user[:], key))
    async def handed(id: str) -> int:
        return 1

    async with sync, connect(sync, secret="ann") as client:
        for entity in ("quick", "handed"):
            await client.subscribe(entity, "1", "2")
            await settled(sync)
            assert sorted(map(str, brief(client))) == ["('denied', '2')", "('snapshot', '1')", "ack"]


async def test_an_answer_that_never_comes():
    """It denies when its time is over, and the next question is asked nevertheless."""
    clock = FakeClock()
    shop = Shop(clock=clock)
    shop.may["ann", "1"] = True
    async with shop.sync, connect(shop.sync, secret="ann") as client:
        shop.may_answer.clear()
        await client.subscribe("orders", "1")
        await clock.advance(9)
        assert brief(client) == ["ack", "beat"]
        await clock.advance(1)
        assert ("denied", "1") in brief(client)
        shop.may_answer.set()
        await client.subscribe("orders", "1")
        await clock.advance(0)
        assert brief(client) == ["ack", ("snapshot", "1")]


class Asking:
    """An `authorize` that is an object."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    async def __call__(self, user: User, key: EntityKey) -> Any:
        return await self.shop.authorize(user, key)


def _handing(shop: Shop) -> Callable[[User, EntityKey], Any]:
    def authorize(user: User, key: EntityKey) -> Any:
        return shop.authorize(user, key)

    return authorize


FORMS: dict[str, Callable[[Shop], Callable[[User, EntityKey], Any]]] = {
    "coroutine function": lambda shop: shop.authorize,
    "returns a coroutine": _handing,
    "object": Asking,
    "partial": lambda shop: partial(Asking.__call__, Asking(shop)),
}


@pytest.mark.parametrize("form", FORMS)
async def test_questions_are_bounded(form: str):
    """So many at once are asked of the application, and all are answered, whatever ``authorize`` is."""
    shop = Shop(settings=Settings(max_questions=24))
    shop.sync.entity("parcels", authorize=FORMS[form](shop))(shop.load)
    shop.may.update({("ann", str(number)): True for number in range(20)})
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(shop.sync)
        first, *others = [
            await stack.enter_async_context(connect(shop.sync, secret="ann")) for _ in range(10)
        ]
        shop.may_answer.clear()
        await first.subscribe("parcels", *(str(number) for number in range(20)))
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(shop.asked) == 3  # of one connection's, an eighth
        for client in others:
            await client.subscribe("parcels", "1", "2", "3")
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(shop.asked) == 24
        shop.may_answer.set()
        while len(first.received) < 23:
            await first.receive()
        while len(shop.asked) < 20 + 9 * 3:
            await asyncio.sleep(0)


@pytest.mark.parametrize("form", [*FORMS, "returns a task"])
async def test_no_question_outlives_its_key(form: str):
    """Of a key that is left before or while it is asked, nothing goes on running at the application's."""
    shop = Shop()
    tasks: list[asyncio.Task[Any]] = []

    def task(user: User, key: EntityKey) -> asyncio.Task[Any]:
        tasks.append(asyncio.create_task(shop.authorize(user, key)))
        return tasks[-1]

    authorize = FORMS[form](shop) if form in FORMS else task
    shop.sync.entity("parcels", authorize=authorize)(shop.load)
    async with shop.sync, connect(shop.sync, secret="ann") as client:
        shop.may_answer.clear()
        before = asyncio.all_tasks()
        await client.subscribe("parcels", "asked")
        for _ in range(10):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() > before
        await client.send({"action": "unsubscribe", "body": {"entity": "parcels", "id": "asked"}})
        for number in range(5):
            key = {"entity": "parcels", "id": str(number)}
            await client.send([{"action": "subscribe", "body": key}, {"action": "unsubscribe", "body": key}])
        for _ in range(10):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == before
        assert all(one.cancelled() for one in tasks)


tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


async def _as_tenant(name: str, request: Awaitable[Any]) -> None:
    tenant.set(name)
    await request


@pytest.mark.parametrize("form", ["plain", "async", "handed over", "per"])
async def test_asked_in_nobodys_context(form: str):
    """Whose request subscribes, or calls `reauthorize`, is nothing to an answer, nor what a question set."""
    tenant.set("the server")
    clock, seen, is_refused = FakeClock(), list[str](), True
    sync = EntitySync(clock=clock)

    def plain(user: str, _key: EntityKey | None = None) -> bool:
        seen.append(tenant.get())
        tenant.set("an earlier question's")
        return not is_refused

    async def later(user: str, key: EntityKey) -> bool:
        await asyncio.sleep(0)
        return plain(user)

    def per(user: str) -> str:
        if not plain(user):
            raise AccessDenied
        return user

    async def load(id: str, user: str) -> int:
        return 1

    functions: dict[str, Any] = {"plain": plain, "async": later}
    functions["handed over"] = lambda user, key: later(user[:], key)
    how: Any = {"per": per} if form == "per" else {"authorize": functions[form]}
    sync.entity("orders", **how)(load)
    async with sync, connect(sync, secret="ann") as client:
        await asyncio.create_task(_as_tenant("ann's", client.subscribe("orders", "1", "2")))
        await clock.advance(0)
        for is_refused in (True, False):  # noqa: B007 - the answers depend on it
            await asyncio.create_task(_as_tenant("an administrator's", sync.reauthorize("ann")))
            await clock.advance(0)
        assert brief(client)[-2:] == [("snapshot", "1"), ("snapshot", "2")]
        await clock.advance(200)
        assert len(seen) == 6 if form == "per" else len(seen) >= 10
        assert set(seen) == {"the server"}


async def test_leaving_while_asked(shop: Shop):
    """Whoever unsubscribes or leaves meanwhile is not subscribed afterwards."""
    shop.may_answer.clear()
    async with connect(shop.sync, secret="ann") as client:
        await client.subscribe("orders", "1", "2")
        await client.send({"action": "unsubscribe", "body": {"entity": "orders", "id": "1"}})
    shop.may_answer.set()
    await settled(shop.sync)
    assert shop.loads == []
    assert len(shop.sync.node.hub.views) == 0


async def test_classic_misses_no_push_while_it_is_asked(shop: Shop):
    """A change between a classic subscribe and the answer is pushed once the answer is yes."""
    async with connect(shop.sync, secret="ann", wire="classic") as client:
        await asyncio.sleep(0)
        shop.may_answer.clear()
        await client.send('{"action":"subscribe","body":{"entity":"orders","id":"1"}}')
        await client.send('{"action":"subscribe","body":{"entity":"orders","id":"3"}}')
        await shop.sync.notify("orders", "1", "3")
        await all_but_asked(shop.sync)
        assert client.received == []
        shop.may_answer.set()
        await settled(shop.sync)
        assert [message["id"] for message in client.pending()] == ["1"]


async def test_classic_misses_no_push_while_it_is_asked_anew(shop: Shop):
    """Nor does the change count as known because a later question takes the place of the first."""
    async with connect(shop.sync, secret="ann", wire="classic") as client:
        await asyncio.sleep(0)
        shop.may_answer.clear()
        await client.subscribe("orders", "1")
        await all_but_asked(shop.sync)
        await shop.sync.notify("orders", "1")
        await shop.sync.reauthorize("ann")
        await all_but_asked(shop.sync)
        shop.may_answer.set()
        await settled(shop.sync)
        assert [message["id"] for message in client.pending()] == ["1"]


@pytest.mark.parametrize("moment", ["as it is asked", "before it is asked again"])
async def test_classic_misses_no_push_though_authorize_fails(moment: str):
    """A change that is withheld as a question fails, or comes until it is asked again, is pushed then."""
    clock = FakeClock()
    shop = Shop(clock=clock)
    shop.may["ann", "1"] = True
    async with shop.sync, connect(shop.sync, secret="ann", wire="classic") as client:
        await client.subscribe("orders", "1")
        await clock.advance(1)
        shop.may["ann", "1"] = LookupError("no database")
        shop.may_answer.clear()
        await shop.sync.reauthorize("ann")
        await clock.advance(0)
        if moment == "as it is asked":
            await shop.sync.notify("orders", "1")
        shop.may_answer.set()
        await clock.advance(0)
        shop.may["ann", "1"] = True
        if moment == "before it is asked again":
            await shop.sync.notify("orders", "1")
        assert client.received == []
        await clock.advance(1)
        assert [message["id"] for message in client.pending()] == ["1"]


async def test_asked_again_after_a_while():
    """Rights that end without a word end after ``authorize_ttl``; those that come, come then."""
    clock = FakeClock()
    shop = Shop(clock=clock)
    shop.may["ann", "1"] = True
    async with shop.sync, connect(shop.sync, secret="ann") as client:
        await client.subscribe("orders", "1", "2")
        await clock.advance(1)
        assert brief(client) == ["ack", ("denied", "2"), ("snapshot", "1")]
        shop.may = {("ann", "2"): True}
        await clock.advance(60)
        assert [one for one in brief(client) if one != "beat"] == [("denied", "1"), ("snapshot", "2")]
        shop.asked.clear()
        await clock.advance(60)
        assert set(brief(client)) == {"beat"}
        assert sorted(shop.asked) == [("ann", "1"), ("ann", "2")]


@pytest.mark.parametrize("ends", ["at once", "with its answer"])
async def test_authorize_that_cancels_its_own_task(ends: str, caplog: pytest.LogCaptureFixture):
    """It denies as any other failure, the log says why, and it is asked again; an answer given counts."""
    clock = FakeClock()
    sync = EntitySync(clock=clock)
    asked = list[str]()

    async def may(_user: str, key: EntityKey) -> bool:
        asked.append(key.id)
        if len(asked) == 1:
            own = asyncio.current_task()
            assert own is not None
            own.cancel()
            if ends == "at once":
                await asyncio.Event().wait()
        return True

    sync.entity("orders", authorize=may)(_load)
    async with sync, connect(sync, secret="ann") as client:
        await client.subscribe("orders", "1")
        await clock.advance(1)
        if ends == "at once":
            assert brief(client) == ["ack", ("denied", "1"), ("snapshot", "1")]
            assert asked == ["1", "1"]
            assert "authorize of orders/'1' failed, which denies it: it cancelled its own task" in caplog.text
        else:
            assert brief(client) == ["ack", ("snapshot", "1")]
            assert asked == ["1"]
            assert not caplog.records


async def test_a_failure_denies_for_a_moment_only():
    """A question that has no answer denies, and is asked again soon: first after a tenth of a second, then
    after longer, and no more once there is an answer."""
    clock = FakeClock()
    shop = Shop(clock=clock)
    shop.may = {("ann", "1"): True, ("ann", "2"): False}
    async with shop.sync, connect(shop.sync, secret="ann") as client:
        await client.subscribe("orders", "1", "2")
        await clock.advance(1)
        brief(client)
        shop.may = {("ann", "1"): LookupError("no database"), ("ann", "2"): False}
        while ("denied", "1") not in brief(client):
            await clock.advance(0.1)
        shop.asked.clear()
        await clock.advance(3)
        assert 3 <= len(shop.asked) <= 7
        shop.may = {("ann", "1"): True}
        await clock.advance(6)
        assert [one for one in brief(client) if one != "beat"] == [("snapshot", "1")]
        shop.asked.clear()
        await clock.advance(30)
        assert shop.asked == []


async def test_leaving_while_it_fails():
    """Nothing is asked for a client that is gone."""
    clock = FakeClock()
    shop = Shop(clock=clock)
    shop.may["ann", "1"] = LookupError("no database")
    async with shop.sync, connect(shop.sync, secret="ann") as client:
        await client.subscribe("orders", "1")
        await clock.advance(0)
        client.leave()
        shop.asked.clear()
        await clock.advance(100)
        assert shop.asked == []


async def test_answers_that_take_longer_than_the_interval():
    """They count: from time to time only what is not being asked is asked."""
    clock = FakeClock()
    shop = Shop(clock=clock, settings=Settings(authorize_ttl=1.0))
    shop.may["ann", "1"] = True
    async with shop.sync, connect(shop.sync, secret="ann") as client:
        shop.may_answer.clear()
        await client.subscribe("orders", "1")
        await clock.advance(3)
        shop.may_answer.set()
        await clock.advance(0)
        assert brief(client) == ["ack", ("snapshot", "1")]
        assert shop.asked == [("ann", "1")]
        await clock.advance(3)
        assert 3 <= len(shop.asked) <= 5


async def test_an_error_that_cannot_be_told(shop: Shop, caplog: pytest.LogCaptureFixture):
    """It denies as any other does, and the log names its type."""

    class Silent(Exception):
        def __str__(self) -> str:
            raise LookupError("no text either")

    shop.may["ann", "1"] = Silent()
    async with connect(shop.sync, secret="ann") as client:
        await client.subscribe("orders", "1")
        assert (await client.receive_until("denied"))["id"] == "1"
    assert "which denies it: Silent" in caplog.text


# reauthorize, revoke


async def test_reauthorize(shop: Shop):
    """Where the answer is still yes nothing is said, and no load begins; where it changed, that is."""
    async with connect(shop.sync, secret="ann") as client, connect(shop.sync, secret="bob") as other:
        await client.subscribe("orders", "1", "2", "3")
        await other.subscribe("orders", "1")
        await settled(shop.sync)
        brief(client)
        shop.may = {("ann", "1"): True, ("ann", "3"): True}
        await shop.sync.reauthorize("ann")
        await settled(shop.sync)
        assert brief(client) == [("denied", "2"), ("snapshot", "3")]
        assert shop.loads == ["1", "2", "3"]
        assert ("bob", "1") in shop.asked
        assert shop.asked.count(("bob", "1")) == 1


async def test_nothing_flows_while_reauthorize_asks(shop: Shop):
    """What changes meanwhile is shown after a yes, and not after a no."""
    async with connect(shop.sync, secret="ann") as client:
        await client.subscribe("orders", "1", "2")
        await settled(shop.sync)
        brief(client)
        shop.may_answer.clear()
        await shop.sync.reauthorize("ann")
        await shop.sync.notify("orders", "1", "2")
        await all_but_asked(shop.sync)
        assert brief(client) == []
        del shop.may["ann", "2"]
        shop.may_answer.set()
        await settled(shop.sync)
        assert brief(client) == [("denied", "2"), ("snapshot", "1")]


async def test_revoke(shop: Shop):
    """Every key is denied, running loads show nothing, and the connection takes a new secret."""
    shop.may["bob", "1"] = True
    async with connect(shop.sync, secret="ann") as client, connect(shop.sync, secret="bob") as other:
        await client.subscribe("orders", "1")
        await client.subscribe("news", "x")
        await other.subscribe("orders", "1")
        await settled(shop.sync)
        brief(client), brief(other)
        notified = asyncio.ensure_future(shop.sync.notify("orders", "1"))
        receipt = await shop.sync.revoke("ann")
        assert receipt.status == "accepted"
        await notified
        await settled(shop.sync)
        assert brief(client) == [("denied", "1"), ("denied", "x")]
        assert brief(other) == [("snapshot", "1")]
        await client.subscribe("orders", "1")
        await client.send({"action": "message", "ref": 7, "body": 1})
        await settled(shop.sync)
        assert brief(client) == ["ack", ("denied", "1"), "error"]
        await client.send({"action": "secret", "body": "bob"})
        await settled(shop.sync)
        assert sorted(map(str, brief(client))) == ["('snapshot', '1')", "('snapshot', 'x')", "ack"]


async def test_revoked_while_it_is_asked_who_that_is(shop: Shop):
    """An answer that was on its way when its principal was revoked does not count: the next one does."""
    async with connect(shop.sync) as client:
        shop.may_know.clear()
        await client.send({"action": "secret", "body": "ann"})
        await asyncio.sleep(0)
        await shop.sync.revoke("ann")
        shop.may_know.set()
        await client.receive_until("ack")
        assert shop.known == 2
        shop.may_know.clear()
        await client.send({"action": "secret", "body": "ann"})
        await asyncio.sleep(0)
        await shop.sync.revoke("bob")
        shop.may_know.set()
        await client.receive_until("ack")
        assert shop.known == 3


# Several nodes


async def _cluster(first: Shop, second: Shop) -> list[Any]:
    told: list[Any] = []
    for shop in (first, second):
        shop.may["ann", "1"] = shop.may["bob", "1"] = True
    async with first.sync, second.sync:
        await asyncio.sleep(10)
        async with connect(second.sync, secret="ann") as ann, connect(second.sync, secret="bob") as bob:
            for client in (ann, bob):
                await client.subscribe("orders", "1")
            await asyncio.sleep(1)
            brief(ann), brief(bob)
            await first.sync.revoke("ann")
            del second.may["bob", "1"]
            await first.sync.reauthorize("bob")
            await asyncio.sleep(1)
            told += [one for one in brief(ann) + brief(bob) if one != "beat"]
    return told


def test_other_nodes_hear_it():
    """Within a second of virtual time, however the broker delays."""

    async def main() -> list[Any]:
        bus = Bus(Random(1))
        return await _cluster(Shop(broker=FaultyBroker(bus)), Shop(broker=FaultyBroker(bus)))

    assert run(main())[0] == [("denied", "1"), ("denied", "1")]


def test_a_revocation_that_is_lost():
    """After a stretch in which it may have been lost, everybody is asked who they are before more data."""

    async def main() -> tuple[list[Any], list[Any], int]:
        bus = Bus(Random(2))
        brokers = FaultyBroker(bus), FaultyBroker(bus)
        first, second = (Shop(broker=broker) for broker in brokers)
        for shop in (first, second):
            shop.may["ann", "1"] = shop.may["bob", "1"] = True
        async with first.sync, second.sync:
            await asyncio.sleep(10)
            async with connect(second.sync, secret="ann") as ann, connect(second.sync, secret="bob") as bob:
                for client in (ann, bob):
                    await client.subscribe("orders", "1")
                await asyncio.sleep(1)
                brief(ann), brief(bob)
                cut = asyncio.ensure_future(brokers[1].cut(20))
                await asyncio.sleep(1)
                await first.sync.revoke("ann")
                known = second.known
                second.ends["ann"] = 0  # the application knows of it: it lets this one in no more
                await cut
                await asyncio.sleep(30)
                return (
                    [one for one in brief(ann) if one != "beat"],
                    [one for one in brief(bob) if one != "beat"],
                    second.known - known,
                )

    ann, bob, asked = run(main())[0]
    assert ann == ["stale", ("denied", "1"), "fresh"]
    assert ("denied", "1") not in bob
    assert asked >= 2


def test_everybody_is_not_asked_at_once():
    """After a gap so many sessions at a time are asked who they are, and all are in the end."""

    async def main() -> tuple[int, int]:
        bus = Bus(Random(7))
        broker = FaultyBroker(bus)
        sync = EntitySync(broker, settings=Settings(max_questions=5))
        running = most = asked = 0

        async def who(secret: str | None, connection: ConnectionInfo) -> str:
            nonlocal running, most, asked
            running, asked = running + 1, asked + 1
            most = max(most, running)
            await asyncio.sleep(0.1)
            running -= 1
            return secret or ""

        async def own(id: str, who: str) -> str:
            return who

        sync.entity("own")(own)
        sync.authenticate(who)
        async with sync:
            await asyncio.sleep(10)
            for number in range(40):
                client = MemoryClient.of(sync)
                await client.send({"action": "secret", "body": str(number)})
            await asyncio.sleep(1)
            most = asked = 0
            await broker.cut(20)
            await asyncio.sleep(30)
        return most, asked

    most, asked = run(main())[0]
    assert most == 5
    assert asked >= 40


def test_nobody_is_told_of_the_broker_too():
    """Whoever was refused has nothing to watch, and is told when the link is back as everybody is."""

    async def main() -> list[Any]:
        bus = Bus(Random(5))
        broker = FaultyBroker(bus)
        shop = Shop(broker=broker)
        shop.may["ann", "1"] = True
        async with shop.sync:
            await asyncio.sleep(10)
            async with connect(shop.sync, secret="ann") as ann:
                await ann.subscribe("orders", "1")
                await asyncio.sleep(1)
                brief(ann)
                shop.ends["ann"] = 0  # from the next question on
                await broker.cut(20)
                await asyncio.sleep(30)
                return [one for one in brief(ann) if one != "beat"]

    assert run(main())[0] == ["stale", ("denied", "1"), "fresh"]


def test_who_subscribed_as_nobody_is_told_of_the_broker():
    """A client that was refused as it subscribed is told, once it is somebody, when that may be old."""

    async def main() -> list[Any]:
        broker = FaultyBroker(Bus(Random(5)))
        shop = Shop(broker=broker)
        shop.may["ann", "1"] = True
        async with shop.sync:
            await asyncio.sleep(10)
            async with connect(shop.sync) as ann:
                await ann.send({"action": "secret", "body": "bad"})
                await ann.subscribe("orders", "1")
                await ann.send({"action": "secret", "body": "ann"})
                await asyncio.sleep(1)
                assert brief(ann)[-1] == ("snapshot", "1")
                cut = asyncio.ensure_future(broker.cut(20))
                await asyncio.sleep(10)
                await cut
                return [one for one in brief(ann) if one != "beat"]

    assert run(main())[0] == ["stale"]


def test_said_while_the_broker_is_away():
    """A revocation is kept, and told when the broker is back."""

    async def main() -> list[Any]:
        bus = Bus(Random(3))
        brokers = FaultyBroker(bus), FaultyBroker(bus)
        first, second = (Shop(broker=broker) for broker in brokers)
        second.may["ann", "1"] = True
        async with first.sync, second.sync:
            await asyncio.sleep(10)
            async with connect(second.sync, secret="ann") as ann:
                await ann.subscribe("orders", "1")
                await asyncio.sleep(1)
                brief(ann)
                cut = asyncio.ensure_future(brokers[0].cut(20))
                await asyncio.sleep(10)
                receipt = await first.sync.revoke("ann")
                assert receipt.status == "deferred"
                await cut
                await asyncio.sleep(10)
                return [one for one in brief(ann) if one != "beat"]

    assert run(main())[0] == [("denied", "1")]


class Detaching:
    """A principal whose key can be read once, as an object of an ORM whose session is closed then."""

    def __init__(self) -> None:
        self.reads = 0

    @property
    def key(self) -> str:
        self.reads += 1
        if self.reads > 1:
            raise RuntimeError("not bound to a session")
        return "ann"


async def test_a_principal_whose_key_is_gone():
    """What needs it later is denied; the client is answered."""
    sync = EntitySync()

    @sync.authenticate
    async def who(_secret: str | None, _connection: ConnectionInfo) -> Detaching:
        return Detaching()

    @sync.entity("orders")
    async def order(_id: str, _user: str) -> int:
        return 1

    async with sync, connect(sync) as client:
        await client.send({"action": "secret", "ref": 1, "body": "ann"})
        await client.receive_until("ack")
        await client.subscribe("orders", "1")
        assert (await client.receive_until("denied"))["id"] == "1"


async def test_a_per_that_failed_is_asked_again_by_reauthorize():
    """What it was refused for may be over."""
    sync = EntitySync()
    is_broken = True

    def tenant(user: str) -> str:
        if is_broken:
            raise OSError("on purpose")
        return user

    @sync.entity("orders", per=tenant)
    async def order(_id: str, _tenant: str) -> int:
        return 1

    async with sync, connect(sync, secret="ann") as client:
        await client.subscribe("orders", "1")
        await client.receive_until("denied")
        is_broken = False
        await sync.reauthorize("ann")
        assert (await client.receive_until("snapshot"))["id"] == "1"


# Expiry


async def test_warned_and_ended():
    """A minute before its end a client is warned; it is served for a grace after it, then denied."""
    clock = FakeClock()
    shop = Shop(clock=clock)
    shop.may["ann", "1"] = True
    shop.ends["ann"] = 200.0
    async with shop.sync, connect(shop.sync, secret="ann") as client:
        await client.subscribe("orders", "1")
        await clock.advance(139)
        assert "expiring" not in brief(client)
        await clock.advance(2)
        (warning,) = [message for message in client.pending() if message["event"] == "expiring"]
        assert warning["in_ms"] == 60_000
        await clock.advance(75)
        await shop.sync.notify("orders", "1")
        await clock.advance(0)
        assert ("snapshot", "1") in brief(client)
        await clock.advance(10)
        assert [one for one in brief(client) if one != "beat"] == [("denied", "1")]
        shop.ends["ann"] = 1_000.0
        await client.send({"action": "secret", "body": "ann"})
        await clock.advance(0)
        assert brief(client) == ["ack", ("snapshot", "1")]


async def test_renewed_in_time():
    """A new secret before the end, and nothing of the old end is left; the end is a datetime here."""
    clock = FakeClock()
    shop = Shop(clock=clock)
    shop.may["ann", "1"] = True
    shop.ends["ann"] = datetime.fromtimestamp(100, UTC)
    async with shop.sync, connect(shop.sync, secret="ann") as client:
        await client.subscribe("orders", "1")
        await clock.advance(60)
        assert "expiring" in brief(client)
        del shop.ends["ann"]
        await client.send({"action": "secret", "body": "ann"})
        await clock.advance(1_000)
        assert set(brief(client)) <= {"ack", ("current", "1"), "beat"}


async def test_a_short_life_is_warned_of_when_half_is_over():
    """A client that has no other secret says the one that ends again a few times, not all the time."""
    clock = FakeClock()
    shop = Shop(clock=clock)
    shop.may["ann", "1"] = True
    shop.ends["ann"] = 45.0
    warned: list[float] = []
    async with shop.sync, connect(shop.sync, secret="ann") as client:
        await client.subscribe("orders", "1")
        for _ in range(450):
            if "expiring" in brief(client):
                warned.append(clock.now())
                await client.send({"action": "secret", "body": "ann"})
            await clock.advance(0.1)
    assert 22.0 < warned[0] < 23.0
    assert 3 <= len(warned) <= 6


@pytest.mark.parametrize(
    ("left", "warning", "is_warned"),
    [(1.9, 60.0, False), (2.0, 60.0, True), (100.0, 0.9, False), (100.0, 1.0, True)],
)
async def test_nobody_is_warned_in_the_last_second(left: float, warning: float, is_warned: bool):
    """A client could make nothing of it: it is denied when its time and the grace are over."""
    clock = FakeClock()
    shop = Shop(clock=clock, settings=Settings(expiry_warning=warning))
    shop.may["ann", "1"] = True
    shop.ends["ann"] = clock.wall() + left
    async with shop.sync, connect(shop.sync, secret="ann") as client:
        await client.subscribe("orders", "1")
        await clock.advance(left + 26.0)
        told = brief(client)
    assert (("denied", "1") in told, "expiring" in told) == (True, is_warned)


async def test_a_principal_of_the_past_is_refused():
    """Its end is over before it begins."""
    clock = FakeClock()
    await clock.advance(50)
    shop = Shop(clock=clock)
    shop.ends["ann"] = 50.0
    async with shop.sync, connect(shop.sync) as client:
        await client.send({"action": "secret", "body": "ann"})
        assert (await client.receive_until("error"))["code"] == "denied"


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("tomorrow", "expires_at is of type str: it is seconds since 1970, or a datetime with a time zone"),
        (True, "expires_at is of type bool"),
        (datetime(2030, 1, 1), "expires_at is a datetime without a time zone"),  # noqa: DTZ001
        (float("nan"), "expires_at is no moment"),
        (float("inf"), r"expires_at is no moment .* or None for no end"),
        (10**400, "expires_at is no moment"),
        (1_700_000_000_000, r"expires_at is no moment before the year 10000 \(milliseconds\?\)"),
        (253_402_300_801, r"\(milliseconds\?\): it is seconds since 1970"),
    ],
    ids=repr,
)
async def test_an_end_that_is_none(end: object, said: str, caplog: pytest.LogCaptureFixture):
    """It is the application's mistake: the log says what is wrong, and the client is nobody."""
    shop = Shop(clock=FakeClock())
    shop.ends["ann"] = end
    async with shop.sync, connect(shop.sync) as client:
        await client.send({"action": "secret", "body": "ann"})
        assert (await client.receive_until("error"))["code"] == "denied"
    assert re.search(said, caplog.text)


@pytest.mark.parametrize(
    ("principal", "said"),
    [
        (None, 'returned None: raise AccessDenied to refuse, return "" for anybody'),
        ({"key": "secret-7"}, "returned a dict: a principal is a str, or an object whose key is a str"),
        (SimpleNamespace(key=7), "returned a SimpleNamespace whose key is of type int: a principal is"),
    ],
    ids=repr,
)
async def test_a_principal_that_is_none(principal: object, said: str, caplog: pytest.LogCaptureFixture):
    """It refuses the client, and the log says what authenticate has to return, without what it returned."""
    sync = EntitySync[Any]()

    @sync.authenticate
    async def who(secret: str | None, connection: ConnectionInfo) -> Any:
        return principal

    async with sync, connect(sync) as client:
        await client.send({"action": "secret", "body": "ann"})
        assert (await client.receive_until("error"))["code"] == "denied"
    assert said in caplog.text
    assert "secret-7" not in caplog.text


# What cannot be


async def _nothing(id: str) -> None: ...


@pytest.mark.parametrize(
    "options",
    [{"public": True, "authorize": lambda user, key: True}, {"authorize": lambda user: True}],
    ids=["public", "one argument"],
)
def test_declarations_that_contradict(options: dict[str, Any]):
    """They are refused as they are made."""
    with pytest.raises(ConfigurationError, match="authorize="):
        EntitySync().entity("orders", **options)(_nothing)


async def test_one_and_true_are_two_audiences():
    """To Python they are equal; here each gets its own load."""
    sync = EntitySync()
    audiences: dict[str, Any] = {"ann": 1, "bob": True, "cid": (1,), "dan": (True,)}
    seen: list[Any] = []

    @sync.entity("pages", per=lambda user: audiences[user])
    async def pages(id: str, audience: Any) -> str:
        seen.append(audience)
        return repr(audience)

    async with sync:
        for secret, audience in audiences.items():
            async with connect(sync, secret=secret) as one, connect(sync, secret="ann") as other:
                await one.subscribe("pages", "1")
                await other.subscribe("pages", "1")
                assert (await one.receive_until("snapshot"))["rows"][0]["data"] == repr(audience)
                assert (await other.receive_until("snapshot"))["rows"][0]["data"] == "1"


def _handed_over(_user: str, _key: EntityKey) -> Any:
    async def answer() -> bool:
        raise LookupError("no such user")

    return answer()


@pytest.mark.parametrize("kind", ["plain", "async", "handed over", "no bool", "cancelled", "late"])
async def test_what_the_log_says_of_an_authorize_that_fails(kind: str, caplog: pytest.LogCaptureFixture):
    """Whatever fails in an authorize, the log names the key and says why, at the first, second and fourth
    failure; a key is denied each time."""

    def plain(_user: str, _key: EntityKey) -> bool:
        raise LookupError("no such user")

    async def later(_user: str, _key: EntityKey) -> bool:
        if kind == "cancelled":
            raise asyncio.CancelledError
        if kind == "late":
            await asyncio.Event().wait()
        raise LookupError("no such user")

    clock = FakeClock()
    sync = EntitySync()
    functions = {"plain": plain, "handed over": _handed_over, "no bool": lambda _user, _key: 1}
    sync.entity("orders", authorize=functions.get(kind, later))(_load)
    async with sync:
        rights = Rights(sync.node.application.catalog, clock, Settings())
        for number in range(1, 6):
            answer = rights.ask("ann", EntityKey("orders", str(number)))
            if isinstance(answer, Question):
                task = asyncio.ensure_future(answer.wait())
                await clock.advance(60.0)
                answer = await task
            assert answer is None
    lines = [r.getMessage() for r in caplog.records if r.name == "entity_sync.authorize"]
    reason = {
        "no bool": "it returned a int, not a bool",
        "cancelled": "CancelledError at ",
        "late": "TimeoutError at ",
    }.get(kind, "LookupError at ")
    assert [line.split("'")[1] for line in lines] == ["1", "2", "4"]
    assert all(reason in line for line in lines)
    assert "no such user" not in caplog.text


async def _load(id: str) -> int:
    return 1


class Ended:
    """A holder that only counts what it is told."""

    def __init__(self) -> None:
        self.ends = 0

    def end(self) -> None:
        self.ends += 1

    def doubt(self) -> None: ...

    def reauthorize(self) -> None: ...


def test_who_was_ended_is_nobody():
    """A connection is ended once, however often its principal is revoked."""
    principals = Principals()
    holder = Ended()
    principals.ask(holder)
    assert principals.enter(holder, "ann")
    for _ in range(2):
        principals.tell(named("ann"), Verdict.REVOKED)
    assert holder.ends == 1
