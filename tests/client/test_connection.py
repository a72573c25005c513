"""The client's shell against a server that says what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any, TypeVar

import msgspec
import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from entity_sync.client import Client, Refusal, State, connect
from entity_sync.client.connection import Secret
from entity_sync.clock import SystemClock
from entity_sync.errors import AccessDenied, BadId, ConnectionLost, NotRunning
from entity_sync.testing import FakeClock

LIMITS = {"in": 1_000, "subs": 5_000, "view": 524_288}
ORDER = {"entity": "orders", "id": "7"}
T = TypeVar("T")


async def soon(awaitable: Awaitable[T]) -> T:
    async with asyncio.timeout(10):
        return await awaitable


class Peer:
    """The server's end of one connection."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket

    async def say(self, event: str, **members: Any) -> None:
        await self.socket.send(msgspec.json.encode({"event": event, **members}).decode())

    async def snapshot(self, id: str, data: Any, version: str, view: int = 1) -> None:
        names = {"view": view, "entity": "orders", "id": id, "rev": 1, "version": version}
        await self.say("snapshot", **names, rows=[{"data": data}], gone=False)

    async def heard(self, action: str) -> dict[str, Any]:
        frame = await soon(self.socket.recv())
        message: dict[str, Any] = msgspec.json.decode(frame)
        assert message["action"] == action
        return message

    async def identified(self) -> Any:
        """Hear a secret, and accept it."""
        message = await self.heard("secret")
        await self.say("ack", ref=message["ref"])
        return message["body"]

    async def asked(self) -> list[Any]:
        """Hear a subscribe, and ack it."""
        message = await self.heard("subscribe")
        await self.say("ack", ref=message["ref"])
        body: list[Any] = message["body"]
        return body


class Scripted:
    """A server whose connections come out of `accepted`, each after its welcome."""

    def __init__(self) -> None:
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.server: Server | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/"

    async def accepted(self) -> Peer:
        return await soon(self._peers.get())

    async def handle(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        await peer.say("welcome", node="n", beat_ms=5_000, stale_ms=15_000, limits=LIMITS, features=[])
        self._peers.put_nowait(peer)
        await socket.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    script = Scripted()
    async with serve(
        script.handle, "127.0.0.1", 0, subprotocols=[Subprotocol("entity-sync.v2")], max_queue=None
    ) as script.server:
        yield script


class Hasty(SystemClock):
    """Sleeps are noted and not slept."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


class Longest(Random):
    """Chance that always chooses the longest wait."""

    def uniform(self, a: float, b: float) -> float:
        return b


@asynccontextmanager
async def joined(
    server: Scripted, secret: Secret = None, clock: Hasty | None = None
) -> AsyncIterator[tuple[Client, Peer]]:
    """A client and the server's end of its first connection."""
    async with AsyncExitStack() as stack:
        context = connect(server.url, secret=secret, clock=clock or Hasty(), random=Longest())
        connecting = asyncio.ensure_future(stack.enter_async_context(context))
        peer = await server.accepted()
        if secret is not None:
            await peer.identified()
        yield await soon(connecting), peer


def shows(n: int) -> Callable[[State], bool]:
    return lambda state: state.data == n and not state.is_stale


async def until(subscription: Any, holds: Callable[[State], bool]) -> State:
    async with asyncio.timeout(10):
        while not holds(state := await subscription.next()):
            pass
        found: State = state
        return found


def client_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if "entity_sync/client" in repr(task)]


# Coming back


async def test_resumes_by_version(server: Scripted):
    """After a drop every key is asked for with its version, and `current` ends the staleness."""
    async with joined(server) as (client, first):
        order = client.subscribe("orders", 7)
        assert await first.asked() == [{"entity": "orders", "id": "7"}]
        await first.snapshot("7", 1, "v1")
        await until(order, shows(1))
        await first.socket.close(1012)
        assert (await until(order, lambda state: state.is_stale)).data == 1
        peer = await server.accepted()
        assert await peer.asked() == [{"entity": "orders", "id": "7", "version": "v1"}]
        await peer.say("current", view=9, entity="orders", id="7", rev=3, version="v1")
        await until(order, shows(1))


async def test_another_version_is_asked_for(server: Scripted):
    """A `current` of a version that the client does not hold keeps the rows until it has the others."""
    async with joined(server) as (client, peer):
        order = client.subscribe("orders", 7)
        await peer.asked()
        await peer.snapshot("7", 1, "v1")
        await peer.say("current", view=1, entity="orders", id="7", rev=3, version="v3")
        assert (await peer.heard("resync"))["body"] == {"view": 1, "rev": 0}
        assert (order.state.data, order.state.is_stale) == (1, True)
        await peer.snapshot("7", 3, "v3")
        await until(order, shows(3))


async def test_waits_longer_each_time(server: Scripted):
    """The wait before the next try doubles up to 30 s, though each connection is accepted."""
    clock = Hasty()
    async with joined(server, clock=clock) as (_, first):
        peer = first
        for _ in range(9):
            await peer.socket.close(1011)
            peer = await server.accepted()
    assert clock.slept[:9] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


async def test_a_settled_connection_starts_over(server: Scripted):
    """After a connection that held for 10 s the wait is the first again."""
    clock = Hasty()
    ahead = 0.0
    clock.now = lambda: asyncio.get_running_loop().time() + ahead  # type: ignore[method-assign]
    async with joined(server, clock=clock) as (_, first):
        peer = first
        for _ in range(3):
            await peer.socket.close(1011)
            peer = await server.accepted()
        ahead = 10.0
        await peer.socket.close(1011)
        await server.accepted()
    assert clock.slept[:4] == [0.5, 1.0, 2.0, 0.5]


async def test_goodbye_is_heeded_once(server: Scripted):
    """The client waits as long as the goodbye says and some; the next drop knows nothing of it."""
    clock = Hasty()
    async with joined(server, clock=clock) as (_, first):
        await first.say("goodbye", code="drain", retry_after_ms=2_000)
        await first.socket.close(1012)
        peer = await server.accepted()
        await peer.socket.close(1012)
        await server.accepted()
    assert clock.slept[:2] == [2.5, 1.0]


async def test_an_unreadable_frame_ends_the_connection(server: Scripted):
    """What cannot be read may have been a change: the client comes back and asks for all."""
    async with joined(server) as (client, first):
        order = client.subscribe("orders", 7)
        await first.asked()
        await first.socket.send('{"event":"snapshot"')
        peer = await server.accepted()
        await peer.asked()
        await peer.snapshot("7", 1, "v1")
        await until(order, shows(1))


async def test_many_keys_fit_into_frames(server: Scripted):
    """What is asked for after a reconnect comes in frames that the server reads, each key once."""
    async with joined(server) as (client, first):
        wanted = {f"{number:060}" for number in range(500)}
        for id in wanted:
            client.subscribe("orders", id)
        await first.socket.close(1012)
        peer = await server.accepted()
        heard: list[str] = []
        while len(heard) < len(wanted):
            frame = await soon(peer.socket.recv())
            assert len(frame) <= LIMITS["in"]
            heard += [element["id"] for element in msgspec.json.decode(frame)["body"]]
        assert sorted(heard) == sorted(wanted)


# Who the client is


async def test_nothing_is_asked_before_the_secret(server: Scripted):
    """On each connection the secret, which may be a coroutine's, is accepted before any key is asked for."""
    asked: list[str] = []

    async def secret() -> str:
        asked.append(f"s{len(asked)}")
        return asked[-1]

    async with joined(server, secret) as (client, first):
        client.subscribe("orders", 7)
        await first.asked()
        await first.socket.close(1012)
        peer = await server.accepted()
        assert await peer.identified() == "s1"
        await peer.asked()


async def test_data_before_the_ack_is_discarded(server: Scripted):
    """Between a secret and its ack the client takes no data, and shows what it holds as stale."""
    async with joined(server, "ann") as (client, peer):
        order = client.subscribe("orders", 7)
        await peer.asked()
        await peer.snapshot("7", 1, "v1")
        await until(order, shows(1))
        identifying = asyncio.create_task(client.identify("bob"))
        secret = await peer.heard("secret")
        await peer.snapshot("7", 2, "v2")
        await peer.say("ack", ref=secret["ref"])
        await soon(identifying)
        assert (order.state.data, order.state.is_stale) == (1, True)
        await peer.snapshot("7", 3, "v3")
        await until(order, shows(3))


async def test_secret_function_that_raises(server: Scripted):
    """A secret function's exception at first reaches who connects."""

    def secret() -> str:
        raise LookupError("vault is sealed")

    with pytest.raises(LookupError, match="vault"):
        await soon(connect(server.url, secret=secret).__aenter__())


async def test_secret_function_that_cancels_its_caller(server: Scripted):
    """A plain function that cancels the task it is called in costs the connection: the first fails, of later
    ones another follows.
    """
    cancels = [True, False, True, False]

    def secret() -> str:
        task = asyncio.current_task()
        assert task is not None
        if cancels.pop(0):
            task.cancel()
        return "ann"

    with pytest.raises(ConnectionLost, match="cancelled its task"):
        await soon(connect(server.url, secret=secret).__aenter__())
    assert client_tasks() == []
    await server.accepted()
    async with joined(server, secret) as (_, peer):
        await peer.say("expiring", in_ms=60_000)
        assert await (await server.accepted()).identified() == "ann"


async def test_secret_function_that_raises_later(server: Scripted, caplog: pytest.LogCaptureFixture):
    """Later the client tries again, and the log holds no text of the exception, which may be secret."""
    answers: list[str | Exception] = ["one", LookupError("hunter2"), "two"]

    def secret() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with joined(server, secret) as (_, peer):
        await peer.socket.close(1012)
        await server.accepted()
        assert await (await server.accepted()).identified() == "two"
    assert "LookupError" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(("code", "error"), [("denied", AccessDenied), ("busy", Refusal)])
async def test_refused_at_first(server: Scripted, code: str, error: type[Exception]):
    """A refused secret raises AccessDenied, and what the server could not find out a Refusal."""
    entering = asyncio.ensure_future(connect(server.url, secret="ann").__aenter__())
    peer = await server.accepted()
    ref = (await peer.heard("secret"))["ref"]
    await peer.say("error", ref=ref, code=code, text="no", retryable=code == "busy")
    with pytest.raises(error):
        await soon(entering)


async def test_busy_later_is_tried_again(server: Scripted):
    """A server that cannot tell who the client is when it comes back is asked again."""
    async with joined(server, "ann") as (client, first):
        client.subscribe("orders", 7)
        await first.asked()
        await first.socket.close(1012)
        peer = await server.accepted()
        ref = (await peer.heard("secret"))["ref"]
        await peer.say("error", ref=ref, code="busy", text="later", retryable=True)
        peer = await server.accepted()
        assert await peer.identified() == "ann"
        await peer.asked()


async def test_denied_later_is_shown(server: Scripted):
    """A secret refused when the client comes back ends no connection: each key is denied, until another."""
    async with joined(server, "ann") as (client, first):
        order = client.subscribe("orders", 7)
        await first.asked()
        await first.socket.close(1012)
        peer = await server.accepted()
        ref = (await peer.heard("secret"))["ref"]
        await peer.say("error", ref=ref, code="denied", text="expired", retryable=False)
        await peer.asked()
        await peer.say("denied", entity="orders", id="7", code="denied")
        await until(order, lambda state: state.is_denied)
        identifying = asyncio.create_task(client.identify("bob"))
        assert await peer.identified() == "bob"
        await soon(identifying)
        await peer.snapshot("7", 1, "v1")
        await until(order, shows(1))


async def test_identify_while_coming_back(server: Scripted):
    """A secret given while the client comes back raises, and is the one that counts."""
    async with joined(server, "ann") as (client, first):
        await first.socket.close(1012)
        peer = await server.accepted()
        sent = await peer.heard("secret")
        with pytest.raises(ConnectionLost):
            await client.identify("bob")
        await peer.say("ack", ref=sent["ref"])
        assert await peer.identified() == "bob"


async def test_identify_that_outlives_its_connection(server: Scripted):
    """A secret function that answers when its connection is gone ends in ConnectionLost, not in waiting."""
    gate = asyncio.Event()

    async def secret() -> str:
        await gate.wait()
        return "bob"

    async with joined(server) as (client, peer):
        order = client.subscribe("orders", 7)
        await peer.asked()
        await peer.snapshot("7", 1, "v1")
        await until(order, shows(1))
        identifying = asyncio.create_task(client.identify(secret))
        await asyncio.sleep(0)
        await peer.socket.close(1012)
        await server.accepted()
        gate.set()
        with pytest.raises(ConnectionLost):
            await soon(identifying)


async def test_somebody_else_before_the_server_knows(server: Scripted):
    """While a secret function is asked, what is held is stale, and what comes is discarded."""
    gate = asyncio.Event()

    async def secret() -> str:
        await gate.wait()
        return "bob"

    async with joined(server, "ann") as (client, peer):
        order = client.subscribe("orders", 7)
        await peer.asked()
        await peer.snapshot("7", 1, "v1")
        await until(order, shows(1))
        identifying = asyncio.create_task(client.identify(secret))
        await until(order, lambda state: state.is_stale)
        other = client.subscribe("orders", 8)
        await peer.asked()
        await peer.snapshot("7", 2, "v2")
        await peer.snapshot("8", 2, "v2", view=2)
        answer = asyncio.create_task(client.message("behind both"))
        await peer.say("message", ref=(await peer.heard("message"))["ref"], body=None)
        await soon(answer)
        assert (order.state.data, order.state.is_stale) == (1, True)
        assert other.state.version is None
        gate.set()
        assert await peer.identified() == "bob"
        await soon(identifying)
        assert order.state.is_stale
        await peer.snapshot("7", 3, "v3")
        await until(order, shows(3))


@pytest.mark.parametrize("fails", [False, True], ids=["given up", "raises"])
async def test_identify_that_ends_before_the_server_knows(server: Scripted, fails: bool):
    """The client goes on: on the same connection it asks the function until that answers."""
    asked = asyncio.Event()
    answers = [LookupError("no vault") if fails else None, LookupError("still none"), "bob"]

    async def secret() -> str:
        asked.set()
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer or await asyncio.get_running_loop().create_future()

    async with joined(server, "ann") as (client, peer):
        order = client.subscribe("orders", 7)
        await peer.asked()
        await peer.snapshot("7", 1, "v1")
        await until(order, shows(1))
        identifying = asyncio.create_task(client.identify(secret))
        await soon(asked.wait())
        if not fails:
            identifying.cancel()
        with pytest.raises((LookupError, asyncio.CancelledError)):
            await soon(identifying)
        assert order.state.is_stale
        assert await peer.identified() == "bob"
        await peer.snapshot("7", 2, "v2")
        await until(order, shows(2))


async def test_identify_that_is_too_long(server: Scripted):
    """A secret that the server would not read leaves what is held stale, until another one is told."""
    async with joined(server, "ann") as (client, peer):
        order = client.subscribe("orders", 7)
        await peer.asked()
        await peer.snapshot("7", 1, "v1")
        await until(order, shows(1))
        with pytest.raises(Refusal, match="too_large"):
            await client.identify("x" * 1_000)
        assert order.state.is_stale
        identifying = asyncio.create_task(client.identify("bob"))
        assert await peer.identified() == "bob"
        await soon(identifying)
        await peer.snapshot("7", 2, "v2")
        await until(order, shows(2))


async def test_identify_given_up_behind_another(server: Scripted):
    """A secret that waited for the answer to the one before is told although nobody waits for it any more."""
    async with joined(server) as (client, peer):
        first = asyncio.create_task(client.identify("ann"))
        message = await peer.heard("secret")
        second = asyncio.create_task(client.identify("bob"))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait([second])
        assert second.cancelled()
        await peer.say("ack", ref=message["ref"])
        assert await peer.identified() == "bob"
        await soon(first)


# Messages


async def test_message_without_an_answer(server: Scripted):
    """A message whose connection ends raises, and so does one where there is no connection."""
    async with joined(server) as (client, peer):
        order = client.subscribe("orders", 7)
        await peer.asked()
        await peer.snapshot("7", 1, "v1")
        await until(order, shows(1))
        sending = asyncio.create_task(client.message("x"))
        await peer.heard("message")
        assert server.server is not None
        server.server.close(close_connections=True)
        with pytest.raises(ConnectionLost, match="before the answer"):
            await soon(sending)
        await until(order, lambda state: state.is_stale)
        with pytest.raises(ConnectionLost, match="not connected"):
            await client.message("x")


async def test_messages_are_bounded(server: Scripted):
    """32 messages may wait for answers; the next is sent when one of them has its own."""
    async with joined(server) as (client, peer):
        sending = [asyncio.create_task(client.message(number)) for number in range(33)]
        heard = [await peer.heard("message") for _ in range(32)]
        assert [message["body"] for message in heard] == list(range(32))
        order = client.subscribe("orders", 7)
        await peer.asked()
        await peer.say("message", ref=heard[5]["ref"], body="five")
        assert (await peer.heard("message"))["body"] == 32
        assert await soon(sending[5]) == "five"
        order.close()
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)


async def test_cancelled_message(server: Scripted):
    """An answer to a message that nobody waits for any more disturbs nothing."""
    async with joined(server) as (client, peer):
        sending = asyncio.create_task(client.message(1))
        ref = (await peer.heard("message"))["ref"]
        sending.cancel()
        await asyncio.wait([sending])
        await peer.say("message", ref=ref, body="late")
        sending = asyncio.create_task(client.message(2))
        ref = (await peer.heard("message"))["ref"]
        await peer.say("error", ref=ref, code="failed", text="the application failed", retryable=False)
        with pytest.raises(Refusal, match="failed: the application failed"):
            await soon(sending)


async def test_message_that_is_too_long(server: Scripted):
    """A message longer than the server reads is refused here, and costs no connection."""
    async with joined(server) as (client, peer):
        with pytest.raises(Refusal, match="too_large"):
            await client.message("x" * 1_000)
        sending = asyncio.create_task(client.message("x"))
        ref = (await peer.heard("message"))["ref"]
        await peer.say("ack", ref=ref)
        assert await soon(sending) is None


# Subscriptions


async def test_slow_reader_is_shown_the_newest(server: Scripted):
    """Who does not read misses what came between, and nothing waits for them."""
    async with joined(server) as (client, peer):
        slow, fast = client.subscribe("orders", 7), client.subscribe("orders", 7)
        await peer.asked()
        for number in range(100):
            await peer.snapshot("7", number, f"v{number}")
        await until(fast, shows(99))
        assert (await slow.next()).data == 99


async def test_closing_ends_the_iteration(server: Scripted):
    """Closing a subscription ends whoever iterates, tells the server, and may be done twice."""
    async with joined(server) as (client, peer):
        order = client.subscribe("orders", 7)
        await peer.asked()
        await peer.snapshot("7", 1, "v1")

        async def read() -> list[Any]:
            return [state.data async for state in order]

        reading = asyncio.create_task(read())
        await until(client.subscribe("orders", 7), shows(1))
        for subscription in [order, order]:
            subscription.close()
        assert await soon(reading) == [1]
        with pytest.raises(NotRunning):
            await order.next()


async def test_last_one_unsubscribes(server: Scripted):
    """The server is told when the last subscription of a key closes, and asked anew by the next one."""
    async with joined(server) as (client, peer):
        one, two = client.subscribe("orders", 7), client.subscribe("orders", "7")
        await peer.asked()
        one.close()
        two.close()
        assert (await peer.heard("unsubscribe"))["body"] == [{"entity": "orders", "id": "7"}]
        client.subscribe("orders", 7)
        assert await peer.asked() == [{"entity": "orders", "id": "7"}]


async def test_late_refusal_of_an_earlier_subscription(server: Scripted):
    """What the server refused of a key before it was closed does not end what was subscribed since."""
    async with joined(server) as (client, peer):
        first = client.subscribe("orders", 7)
        asked = await peer.heard("subscribe")
        first.close()
        again = client.subscribe("orders", 7)
        message = await peer.heard("subscribe")
        await peer.say("ack", ref=asked["ref"], failed=[{**ORDER, "code": "limit", "text": "1 at most"}])
        await peer.say("ack", ref=message["ref"])
        await peer.snapshot("7", 1, "v1")
        await until(again, shows(1))
        again.close()
        await peer.heard("unsubscribe")
        again = client.subscribe("orders", 7)
        message = await peer.heard("subscribe")
        await peer.say("ack", ref=message["ref"], failed=[{**ORDER, "code": "limit", "text": "1 at most"}])
        with pytest.raises(Refusal):
            await soon(again.next())


async def test_refused_key_may_be_asked_for_again(server: Scripted):
    """A refused subscription ends for good; a new one of the same key asks anew."""
    async with joined(server) as (client, peer):
        order = client.subscribe("orders", 7)
        ref = (await peer.heard("subscribe"))["ref"]
        failure = {"entity": "orders", "id": "7", "code": "limit", "text": "full", "retryable": True}
        await peer.say("ack", ref=ref, failed=[failure])
        with pytest.raises(Refusal, match="limit: full") as refusal:
            await soon(order.next())
        assert refusal.value.is_retryable
        with pytest.raises(Refusal):
            _ = order.state
        order.close()
        again = client.subscribe("orders", 7)
        await peer.asked()
        await peer.snapshot("7", 1, "v1")
        await until(again, shows(1))


@pytest.mark.parametrize("id", ["x" * 5_000, "\ud800"])
async def test_id_that_no_server_reads(server: Scripted, id: str):
    """An id that would cost the connection is refused before it is sent."""
    async with joined(server) as (client, _):
        with pytest.raises(BadId):
            client.subscribe("orders", id)


@pytest.mark.parametrize("id", [None, True, 1.5, ["a"], b"a"])
async def test_id_of_no_type_that_ids_have(server: Scripted, id: Any):
    """What is no id is refused by the call, and its spelling in Python is not watched instead."""
    async with joined(server) as (client, peer):
        with pytest.raises(BadId, match="bad id for 'orders': an id is a str, an int or a UUID, not a "):
            client.subscribe("orders", id)
        client.subscribe("orders", 7)
        assert [key["id"] for key in await peer.asked()] == ["7"]


async def test_stale_reasons(server: Scripted):
    """A state tells why it is stale."""
    async with joined(server) as (client, peer):
        order = client.subscribe("orders", 7)
        await peer.asked()
        await peer.snapshot("7", 1, "v1")
        await until(order, shows(1))
        await peer.say("stale", reason="broker", age_ms=1)
        await until(order, lambda state: state.stale_reason == "broker")
        await peer.say("stale", reason="load", age_ms=1, view=1)
        await peer.say("fresh")
        await until(order, lambda state: state.stale_reason == "load")
        await peer.say("fresh", view=1)
        await until(order, shows(1))


# Beginning and end


async def test_classic_server():
    """A server that does not speak v2 is told from one that is not there."""

    async def handle(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async with serve(handle, "127.0.0.1", 0) as classic:
        port = classic.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionLost, match=r"does not speak entity-sync\.v2"):
            await soon(connect(f"ws://127.0.0.1:{port}/").__aenter__())


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:1/?token=hunter2", "http://127.0.0.1:1/ isn't"),
        ("http://ann:hunter2@127.0.0.1:1", "http://127.0.0.1:1 isn't"),
        ("ws://127.0.0.1:1/live/#hunter2", "ws://127.0.0.1:1/live/ isn't"),
        ("nonsense", "nonsense isn't"),
    ],
)
async def test_no_url(url: str, told: str, caplog: pytest.LogCaptureFixture):
    """What is no WebSocket's URL raises ConnectionLost, and nobody is told what is secret in it."""
    caplog.set_level("INFO", "entity_sync")
    with pytest.raises(ConnectionLost, match=f"{told} a valid URI: ") as lost:
        await soon(connect(url).__aenter__())
    assert told in caplog.text
    assert "hunter2" not in f"{lost.value} {caplog.text}"


async def test_closed_before_the_welcome():
    """A server that closes at once raises ConnectionLost with its code and reason."""

    async def handle(socket: ServerConnection) -> None:
        await socket.close(1013, "full")

    async with serve(handle, "127.0.0.1", 0, subprotocols=[Subprotocol("entity-sync.v2")]) as full:
        port = full.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionLost, match="1013 full") as lost:
            await soon(connect(f"ws://127.0.0.1:{port}/").__aenter__())
    assert (lost.value.code, lost.value.reason) == (1013, "full")


async def test_no_welcome():
    """A server that accepts and says nothing for as long as makes a client stale is none."""
    opened = asyncio.Event()
    clock = FakeClock()

    async def handle(socket: ServerConnection) -> None:
        opened.set()
        await socket.wait_closed()

    async with serve(handle, "127.0.0.1", 0, subprotocols=[Subprotocol("entity-sync.v2")]) as mute:
        port = mute.sockets[0].getsockname()[1]
        entering = asyncio.ensure_future(connect(f"ws://127.0.0.1:{port}/", clock=clock).__aenter__())
        await soon(opened.wait())
        while not entering.done():
            await clock.advance(1.0)
        with pytest.raises(ConnectionLost, match="says nothing"):
            await entering


async def test_no_task_is_left(server: Scripted):
    """A client that is left, in whatever way, leaves no task and closes its socket."""
    peers: list[Peer] = []

    async def leave() -> None:
        async with joined(server) as (client, peer):
            peers.append(peer)
            client.subscribe("orders", 7)
            await peer.asked()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await leave()
    assert client_tasks() == []
    with pytest.raises(ConnectionClosed):
        await soon(peers[0].socket.recv())


async def test_connecting_can_be_cancelled(server: Scripted):
    """Giving up while the server is asked who one is leaves no task."""
    entering = asyncio.ensure_future(connect(server.url, secret="ann").__aenter__())
    await (await server.accepted()).heard("secret")
    entering.cancel()
    await asyncio.wait([entering])
    assert entering.cancelled()
    assert client_tasks() == []


async def test_closed_client(server: Scripted):
    """A closed client takes no more subscriptions, messages and secrets."""
    async with joined(server) as (client, _):
        order = client.subscribe("orders", 7)
    with pytest.raises(ConnectionLost):
        await order.next()
    with pytest.raises(ConnectionLost):
        client.subscribe("orders", 7)
    with pytest.raises(ConnectionLost):
        await client.message(1)
    with pytest.raises(ConnectionLost):
        await client.identify("bob")
    order.close()


async def test_another_secret_before_the_end(server: Scripted):
    """When the server says that the secret's time is nearly over, the function is asked for the next one."""
    secrets = iter(("first", "refused", "second"))
    async with joined(server, lambda: next(secrets)) as (_, peer):
        await peer.say("expiring", in_ms=60_000)
        message = await peer.heard("secret")
        assert message["body"] == "refused"
        await peer.say("error", ref=message["ref"], code="denied", text="no", retryable=False)
        await peer.say("expiring", in_ms=30_000)
        message = await peer.heard("secret")
        assert message["body"] == "second"
        await peer.say("ack", ref=message["ref"])


async def test_another_secret_that_takes_several_tries(server: Scripted, caplog: pytest.LogCaptureFixture):
    """A function that fails when the secret is about to end, or a server that cannot tell, costs no
    connection: the function is asked again, after longer each time, and its text is not in the log."""
    clock = Hasty()
    answers: list[str | BaseException] = ["first", LookupError("hunter2"), asyncio.CancelledError()]
    answers += [ConnectionLost(1006, "to the vault"), "unsure", "second"]

    def secret() -> str:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async with joined(server, secret, clock) as (client, peer):
        await peer.say("expiring", in_ms=60_000)
        message = await peer.heard("secret")
        assert message["body"] == "unsure"
        await peer.say("error", ref=message["ref"], code="busy", text="later", retryable=True)
        assert await peer.identified() == "second"
        order = client.subscribe("orders", 7)
        await peer.asked()
        await peer.snapshot("7", 1, "v1")
        await until(order, shows(1))
        assert clock.slept == [0.5, 1.0, 2.0, 4.0]
    assert "LookupError" in caplog.text
    assert "hunter2" not in caplog.text


async def test_another_secret_meanwhile(server: Scripted):
    """A function that fails is asked no more once the program has given another secret."""
    clock = FakeClock()
    asked: list[str] = []

    def secret() -> str:
        if asked:
            asked.append("failed")
            raise LookupError("no vault")
        asked.append("first")
        return "first"

    async with AsyncExitStack() as stack:
        context = connect(server.url, secret=secret, clock=clock, random=Longest())
        connecting = asyncio.ensure_future(stack.enter_async_context(context))
        peer = await server.accepted()
        assert await peer.identified() == "first"
        client = await soon(connecting)
        await peer.say("expiring", in_ms=60_000)
        async with asyncio.timeout(10):
            while len(asked) < 3:
                await clock.advance(0.5)
        identifying = asyncio.create_task(client.identify("bob"))
        assert await peer.identified() == "bob"
        await soon(identifying)
        await clock.advance(10.0)
        assert asked == ["first", "failed", "failed"]


async def test_another_secret_while_the_function_hangs(server: Scripted):
    """A function that never answers holds up neither the secret that replaces it nor that one's renewals."""
    secrets = iter(("first", "never", "third"))

    async def hanging() -> str:
        secret = next(secrets)
        if secret == "never":
            asked.set()
            await asyncio.get_running_loop().create_future()
        return secret

    asked = asyncio.Event()
    renewed = iter(("second", "third"))
    async with joined(server, hanging) as (client, peer):
        await peer.say("expiring", in_ms=60_000)
        await soon(asked.wait())
        identifying = asyncio.create_task(client.identify(lambda: next(renewed)))
        assert await peer.identified() == "second"
        await soon(identifying)
        await peer.say("expiring", in_ms=60_000)
        assert await peer.identified() == "third"


async def test_another_secret_while_coming_back(server: Scripted):
    """So on a new connection: the secret that was given meanwhile is told, and keys are asked for."""
    answers, asked = ["ann"], asyncio.Event()

    async def hanging() -> str:
        if not answers:
            asked.set()
            await asyncio.get_running_loop().create_future()
        return answers.pop()

    async with joined(server, hanging) as (client, first):
        client.subscribe("orders", 7)
        await first.asked()
        await first.socket.close(1012)
        peer = await server.accepted()
        await soon(asked.wait())
        with pytest.raises(ConnectionLost):
            await client.identify("bob")
        assert await peer.identified() == "bob"
        await peer.asked()


async def test_the_last_secret_counts(server: Scripted):
    """A function that is slower than the next `identify` is told to nobody, whatever it answers."""
    asked, is_over = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        asked.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            is_over.set()
        return "too late"

    async with joined(server) as (client, peer):
        overtaken = asyncio.create_task(client.identify(slow))
        await soon(asked.wait())
        identifying = asyncio.create_task(client.identify("bob"))
        assert await peer.identified() == "bob"
        await soon(asyncio.gather(identifying, overtaken))
        assert is_over.is_set()
        client.subscribe("orders", 7)
        await peer.asked()


async def test_reached_ends_with_the_client(server: Scripted):
    """Who waits for a token when the client is closed, or asks afterwards, is told so."""
    context = connect(server.url, receipts=True, clock=Hasty())
    client = await soon(context.__aenter__())
    waiting = [asyncio.create_task(client.reached(token)) for token in ("n.1", "n.1", "n.2")]
    await asyncio.sleep(0)
    await context.__aexit__(None, None, None)
    found = await soon(asyncio.gather(*waiting, return_exceptions=True))
    assert [type(each) for each in found] == [ConnectionLost] * 3
    with pytest.raises(ConnectionLost):
        await client.reached("n.1")
