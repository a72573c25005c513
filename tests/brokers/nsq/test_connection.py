"""One connection to a scripted nsqd: what a real one cannot be made to do when a test wants it."""

from __future__ import annotations

import asyncio
import json
import ssl

import pytest

from entity_sync.brokers.nsq import connection as module
from entity_sync.brokers.nsq import endpoint, exchange, protocol
from entity_sync.brokers.nsq.connection import Connection
from entity_sync.brokers.nsq.endpoint import Endpoint, bounded
from entity_sync.errors import BrokerUnavailable, ConfigurationError
from tests.brokers.nsq import wire
from tests.brokers.nsq.wire import OK, PATIENCE, StandIn

HEARTBEAT = wire.response(b"_heartbeat_")


@pytest.fixture
async def nsqd():
    async with StandIn().running() as server:
        yield server


class Client:
    """A connection, its peer, and what it told."""

    def __init__(self, connection, peer):
        self.connection, self.peer = connection, peer
        self.bodies: list[bytes] = []
        self.end: asyncio.Future[BrokerUnavailable] = asyncio.get_running_loop().create_future()
        connection.when_ended(self.end.set_result)

    async def ended(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return str(await self.end)


async def joined(nsqd, *, subscribed=False) -> Client:
    connection = await Connection.open(Endpoint("127.0.0.1", nsqd.port))
    client = Client(connection, await nsqd.peer())
    if subscribed:
        connection.deliver = client.bodies.extend
        await connection.subscribe(b"t", b"c")
        await client.peer.came("SUB", "RDY")
    return client


async def test_identifies_itself(nsqd):
    """IDENTIFY asks for no buffering and for heartbeats often enough to see a stopped nsqd."""
    client = await joined(nsqd)
    options = json.loads(client.peer.commands[0].body)
    assert options["feature_negotiation"] is True
    assert options["output_buffer_size"] == -1
    assert 1_000 <= options["heartbeat_interval"] <= 5_000
    assert options["tls_v1"] is False
    await client.connection.close()


@pytest.mark.parametrize(("limit", "wanted"), [(b"10", 10), (b"100000", 2_500), (b"0", 1), (b'"x"', 1)])
async def test_ready_is_large_within_the_limit(nsqd, limit, wanted):
    """RDY is what nsqd allows, 2,500 at most and 1 at least."""
    nsqd.answers["IDENTIFY"] = wire.response(b'{"max_rdy_count":%b}' % limit)
    client = await joined(nsqd, subscribed=True)
    assert client.peer.commands[-1].line == f"RDY {wanted}"
    await client.connection.close()


async def test_one_write_finishes_all_that_came(nsqd):
    """Messages that came together, also with half of another, are delivered and finished."""
    client = await joined(nsqd, subscribed=True)
    ids = [b"%016d" % n for n in range(3)]
    data = b"".join(wire.message(id[-1:], id) for id in ids)
    client.peer.send(data[:-5])
    assert [one.line for one in await client.peer.count("FIN", 2)] == [f"FIN {id.decode()}" for id in ids[:2]]
    client.peer.send(data[-5:])
    await client.peer.count("FIN", 3)
    assert client.bodies == [b"0", b"1", b"2"]
    await client.connection.close()


@pytest.mark.parametrize("code", [b"E_FIN_FAILED", b"E_REQ_FAILED", b"E_TOUCH_FAILED"])
async def test_errors_of_a_message_answer_no_command(nsqd, code):
    """An error about a message that comes before the answer to a publish is not that answer."""
    client = await joined(nsqd)
    answer = client.connection.publish(b"t", [b"1"])
    await client.peer.came("PUB")
    client.peer.send(wire.error(code + b" FIN 0123456789abcdef failed") + HEARTBEAT)
    await client.peer.came("NOP")  # so it was read
    assert not answer.done()
    client.peer.send(OK)
    assert await answer == b"OK"
    await client.connection.close()


async def test_waiter_that_gives_up_keeps_its_place(nsqd):
    """The answer to a publish whose caller was cancelled does not go to the next caller."""
    client = await joined(nsqd)
    first = client.connection.publish(b"t", [b"1"])
    await client.peer.came("PUB")
    second = client.connection.publish(b"u", [b"2"])
    await client.peer.came("PUB", "PUB")
    first.cancel()
    client.peer.send(OK + HEARTBEAT)
    await client.peer.came("NOP")
    assert not second.done()
    client.peer.send(OK)
    assert await second == b"OK"
    await client.connection.close()


async def test_publishes_of_a_turn_are_one_command(nsqd):
    """While an answer is due, what one turn publishes to a topic is one MPUB with one answer for all."""
    client = await joined(nsqd)
    first = client.connection.publish(b"t", [b"1"])
    others = [client.connection.publish(b"t", [b"%d" % n]) for n in range(2, 5)]
    apart = client.connection.publish(b"u", [b"5"])
    found = await client.peer.count("PUB", 2)
    mpub = await client.peer.count("MPUB", 1)
    assert [one.line for one in found] == ["PUB t", "PUB u"]
    assert mpub[0].body == b"\0\0\0\3" + b"".join(b"\0\0\0\1%d" % n for n in range(2, 5))
    others[0].cancel()
    client.peer.send(OK + OK)
    assert await asyncio.gather(first, *others[1:]) == [b"OK"] * 3
    assert not apart.done()
    client.peer.send(OK)
    await apart
    await client.connection.close()


async def test_large_publishes_of_a_turn_are_cut(nsqd):
    """However much one turn publishes, no MPUB comes near nsqd's limit of 5 MiB."""
    nsqd.answers |= {"PUB": OK, "MPUB": OK}
    client = await joined(nsqd)
    await asyncio.gather(*(client.connection.publish(b"t", [bytes(400_000)]) for _ in range(20)))
    sizes = [len(one.body) for one in client.peer.commands[1:]]
    assert sum(sizes) > 20 * 400_000
    assert max(sizes) < 1_500_000
    await client.connection.close()


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not NSQ"),
        (wire.frame(7, b""), "type 7"),
        (wire.message(b"x"), "without a subscription"),
        (OK, "answer to nothing"),
        (wire.error(b"E_INVALID what"), "E_INVALID what"),
    ],
)
async def test_what_cannot_be_ends_the_connection(nsqd, garbage, reason):
    """Garbage, and frames that nothing asked for, end the connection with the reason."""
    client = await joined(nsqd)
    client.peer.send(garbage)
    assert reason in await client.ended()
    with pytest.raises(BrokerUnavailable, match=reason):
        client.connection.publish(b"t", [b"1"])
    await client.connection.close()


async def test_refusal_ends_all_that_wait(nsqd):
    """An error answers the oldest command with its text; the others are told that the connection ended."""
    client = await joined(nsqd)
    answers = [client.connection.publish(topic, [b"1"]) for topic in (b"t", b"u")]
    await client.peer.came("PUB", "PUB")
    client.peer.send(wire.error(b"E_BAD_MESSAGE too large"))
    for answer, text in zip(answers, ("refuses: E_BAD_MESSAGE", "ended the connection"), strict=True):
        with pytest.raises(BrokerUnavailable, match=text):
            await answer
    await client.connection.close()


class Timer:
    """A call that is due later."""

    def __init__(self, when, callback):
        self.callback = callback
        self.when = lambda: when

    def cancel(self):
        self.callback = None


class Time:
    """The loop of a connection from now on, with a time that only the test moves."""

    def __init__(self, connection):
        self._loop = connection._loop
        self._now = connection._heard = 0.0
        connection._loop = connection._exchange._loop = self
        connection._arm(2 * module._HEARTBEAT)

    def __getattr__(self, name):
        return getattr(self._loop, name)

    def time(self):
        return self._now

    def call_at(self, when, callback):
        self._timer = Timer(when, callback)  # a connection has one
        return self._timer

    def advance(self, seconds):
        until = self._now + seconds
        while self._timer.callback is not None and self._timer.when() <= until:
            self.stand_still(self._timer.when() - self._now)
        self._now = until

    def stand_still(self, seconds):
        """Nothing ran for so long; then what is due does."""
        self._now += seconds
        if self._timer.callback is not None and self._timer.when() <= self._now:
            callback, self._timer.callback = self._timer.callback, None
            callback()


async def test_nsqd_without_a_sign_is_given_up(nsqd):
    """No heartbeat for two intervals ends the connection; any sign in time keeps it."""
    client = await joined(nsqd)
    time = Time(client.connection)
    for number in range(4):
        time.advance(7.5)
        client.peer.send(HEARTBEAT)
        await client.peer.count("NOP", number + 1)
    time.advance(7.5)
    assert not client.end.done()
    time.advance(0.5)
    assert "silent for 8.0 s" in await client.ended()
    await client.connection.close()


async def test_answer_that_never_comes(nsqd):
    """nsqd that beats but does not answer fails what waits in time, and the connection with it."""
    client = await joined(nsqd)
    time = Time(client.connection)
    answers = [client.connection.publish(topic, [b"1"]) for topic in (b"t", b"u")]
    await client.peer.came("PUB", "PUB")
    time.advance(endpoint.PATIENCE - 0.5)
    client.peer.send(HEARTBEAT)
    await client.peer.came("NOP")
    assert not any(answer.done() for answer in answers)
    time.advance(0.5)
    assert all(answer.done() for answer in answers)
    for answer in answers:
        with pytest.raises(BrokerUnavailable, match="did not answer"):
            await answer
    assert "did not answer" in await client.ended()
    await client.connection.close()


async def test_answer_to_a_batch_that_never_comes(nsqd):
    """What was joined behind a heartbeat's answer is watched as well as what was sent at once."""
    client = await joined(nsqd)
    time = Time(client.connection)
    client.connection.data_received(HEARTBEAT)
    answer = client.connection.publish(b"t", [b"1"])
    await client.peer.came("PUB")
    time.advance(endpoint.PATIENCE)
    assert answer.done()
    with pytest.raises(BrokerUnavailable, match="did not answer"):
        await answer
    await client.connection.close()


async def test_own_stall_is_not_taken_for_silence(nsqd):
    """A loop that stood still for longer than two intervals first reads what nsqd sent meanwhile, and gives
    it up if that is nothing."""
    client = await joined(nsqd)
    time = Time(client.connection)
    time.stand_still(10.0)
    client.peer.send(HEARTBEAT)
    await client.peer.came("NOP")
    time.advance(7.0)
    assert not client.end.done()
    time.stand_still(10.0)
    assert not client.end.done()
    time.advance(0.5)
    assert "silent for 17.5 s" in await client.ended()
    await client.connection.close()


@pytest.mark.parametrize("answer", [b"OK", b"[]", b"\xff", b"{"])
async def test_other_servers_are_refused(nsqd, answer):
    """A peer whose answer to IDENTIFY is no object is not connected to."""
    nsqd.answers["IDENTIFY"] = wire.response(answer)
    with pytest.raises(BrokerUnavailable, match="no object"):
        async with bounded("nsqd"):
            await Connection.open(Endpoint("127.0.0.1", nsqd.port))


async def test_no_secret_and_no_tls_are_mistakes_of_the_set_up(nsqd):
    """nsqd that wants a secret, or has no TLS, is named; the secret never goes out in the clear."""
    nsqd.answers["IDENTIFY"] = wire.response(b'{"auth_required":true,"tls_v1":false}')
    with pytest.raises(ConfigurationError, match="wants a secret"):
        await Connection.open(Endpoint("127.0.0.1", nsqd.port))
    endpoint = Endpoint("127.0.0.1", nsqd.port, tls=ssl.create_default_context(), secret="hush")
    with pytest.raises(ConfigurationError, match="no TLS"):
        await Connection.open(endpoint)
    assert "hush" not in repr(endpoint)
    for _ in range(2):
        peer = await nsqd.peer()
        assert [one.line for one in peer.commands] == ["IDENTIFY"]


async def test_injected_before_tls_is_refused(nsqd):
    """Bytes in the clear behind the answer to IDENTIFY do not count as said inside TLS."""
    nsqd.answers["IDENTIFY"] = wire.response(b'{"tls_v1":true}') + b"\0\0"
    endpoint = Endpoint("127.0.0.1", nsqd.port, tls=ssl.create_default_context())
    with pytest.raises(protocol.ProtocolError, match="in the clear"):
        await Connection.open(endpoint)


async def test_close_waits_for_answers(nsqd):
    """`close` lets a publish finish whose answer is on its way."""
    client = await joined(nsqd)
    answer = client.connection.publish(b"t", [b"1"])
    await client.peer.came("PUB")
    closing = asyncio.create_task(client.connection.close())
    await asyncio.sleep(0)
    client.peer.send(OK)
    assert await answer == b"OK"
    await closing


async def test_close_does_not_wait_for_ever(nsqd):
    """Neither a missing answer nor a missing goodbye keeps `close` longer than about a second."""
    del nsqd.answers["CLS"]
    publishing, subscribed = await joined(nsqd), await joined(nsqd, subscribed=True)
    answer = publishing.connection.publish(b"t", [b"1"])
    async with asyncio.timeout(3.0):
        await asyncio.gather(publishing.connection.close(), subscribed.connection.close())
    with pytest.raises(BrokerUnavailable, match="closed"):
        await answer
    assert not publishing.end.done()


async def test_cancelled_close_leaves_nothing_open(nsqd):
    """A `close` that is cancelled while it waits still leaves."""
    del nsqd.answers["CLS"]
    client = await joined(nsqd, subscribed=True)
    closing = asyncio.create_task(client.connection.close())
    await client.peer.came("CLS")
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await client.connection._gone.wait()


async def test_subscription_ends_with_a_goodbye(nsqd):
    """`close` of a subscription sends CLS; what still comes before the answer is finished and dropped."""
    nsqd.answers["CLS"] = wire.message(b"late") + wire.response(b"CLOSE_WAIT")
    client = await joined(nsqd, subscribed=True)
    await client.connection.close()
    await client.peer.count("FIN", 1)
    assert client.bodies == []


async def test_end_is_told_to_who_asks_late(nsqd):
    """Whoever asks after the connection ended is told at once."""
    connection = await Connection.open(Endpoint("127.0.0.1", nsqd.port))
    connection.data_received(wire.error(b"E_INVALID early"))
    told: list[BrokerUnavailable] = []
    connection.when_ended(told.append)
    assert "E_INVALID early" in str(told[0])
    await connection.close()
    assert len(told) == 1


async def test_exchange_of_a_dead_connection():
    """Whoever waits when the connection ends is told, also of what was not written yet."""
    talk = exchange.Exchange(1.0)
    talk.send(b"PUB")
    waiting, gone = [talk.expect(), talk.publish(b"t", [b"1"])], talk.publish(b"t", [b"2"])
    gone.cancel()
    talk.fail(BrokerUnavailable("it ended"))
    for future in waiting:
        with pytest.raises(BrokerUnavailable, match="it ended"):
            await future
    assert talk.is_idle
