"""What every broker adapter must do, as tests to inherit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import ClassVar

from entity_sync.brokers.base import TRANSIENT, Broker, Lost, Message, Restored
from entity_sync.errors import BrokerError, BrokerUnavailable
from entity_sync.testing.receiving import PATIENCE, REFUSED, drain, publish_in_pieces, raises, receive

__all__ = ["BrokerContract", "BrokerOutageContract"]

_NOTICED = 12.0  # seconds within which a broker that has gone, or says nothing any more, is noticed


class BrokerContract:
    """Inherit it as ``class TestMine(BrokerContract)`` and override `make`.

    It needs pytest-asyncio in auto mode; each test ends within a minute, whatever the adapter does::

        class TestMine(BrokerContract):
            async def make(self) -> Broker:
                return MyBroker("mine://127.0.0.1:1234")

    Attributes:
        is_ordered: what one adapter publishes, call after call, arrives in its order.
        carries_empty: payloads without a byte arrive; if not, they raise BrokerError.
    """

    is_ordered: ClassVar[bool] = True
    carries_empty: ClassVar[bool] = True

    async def make(self) -> Broker:
        """A new adapter to the same broker as every other of this test, not connected."""
        raise TypeError("override make")

    # What arrives

    async def test_reaches_every_node(self) -> None:
        """What one node publishes reaches every subscribed node, itself included, once."""
        async with self._joined("items") as one, self._joined("items") as two, self._joined("items") as three:
            await one.publish("items", [b"1", b"2"])
            await two.publish("items", [b"3"])
            for broker in (one, two, three):
                await self._expect(broker, "items", [b"1", b"2", b"3"], is_ordered=False)
            await one.publish("items", [b"4"])
            for broker in (one, two, three):
                await self._expect(broker, "items", [b"4"])

    async def test_only_subscribed_topics(self) -> None:
        """A topic that was not subscribed, or not any more, brings nothing."""
        async with self._joined("items") as broker:
            await broker.subscribe(["users"])
            await broker.unsubscribe(["items"])
            await broker.publish("items", [b"no"])
            await broker.publish("orders", [b"no"])
            await broker.publish("users", [b"yes"])
            await self._expect(broker, "users", [b"yes"])

    async def test_topics_at_once(self) -> None:
        """Topics that are published to at the same time each bring their own, complete and in order."""
        numbers = [b"%d" % number for number in range(200)]
        async with self._joined("items", "users") as one, self._joined("users") as two:
            await asyncio.gather(one.publish("items", numbers), two.publish("users", numbers))
            found = await receive(one, 400)
            for topic in ("items", "users"):
                self._compare([message.payload for message in found if message.topic == topic], numbers)
            await self._expect(two, "users", numbers)

    async def test_subscribed_twice(self) -> None:
        """A topic that is subscribed again brings each message once."""
        async with self._joined("items", "items") as broker:
            await broker.subscribe(["items", "users"])
            await broker.publish("items", [b"1"])
            await broker.publish("items", [b"2"])
            await self._expect(broker, "items", [b"1", b"2"], is_ordered=False)

    async def test_carries_bytes_unchanged(self) -> None:
        """Payloads up to 4 KiB arrive as they were sent, whatever they hold."""
        payloads = [bytes(range(256)), b"{}", "ü€😀".encode(), b"same", b"same", b"x" * 4_096, b"\r\n", b"\0"]
        async with self._joined("bytes") as broker:
            await broker.publish("bytes", payloads)
            await self._expect(broker, "bytes", payloads)

    async def test_empty_payloads(self) -> None:
        """A payload without a byte arrives, or is refused; those beside and after it are not disturbed."""
        async with self._joined("bytes") as broker:
            if self.carries_empty:
                await broker.publish("bytes", [b"", b"1"])
                await self._expect(broker, "bytes", [b"", b"1"])
            else:
                await raises(BrokerError, broker.publish("bytes", [b""]))
            await broker.publish("bytes", [b"2"])
            await self._expect(broker, "bytes", [b"2"])

    async def test_names_at_their_limits(self) -> None:
        """Topics of 1 and 64 characters, with every allowed one in every place, and passing ones, work."""
        names = ["a", "A-b_c.9", "x" * 64, ".", "..", ".a.", "a..b", "-", "_", "0", "x" * 54 + TRANSIENT]
        async with self._joined(*names) as broker:
            for name in names:
                await broker.publish(name, [name.encode()])
                await self._expect(broker, name, [name.encode()])

    async def test_large_burst(self) -> None:
        """10,000 payloads of two publishers by turns all arrive, each one's in order if that is promised."""
        ones, twos = ([b"%d %d" % (who, number) for number in range(5_000)] for who in (1, 2))
        async with self._joined("burst") as one, self._joined("burst") as two:
            await asyncio.gather(publish_in_pieces(one, "burst", ones), publish_in_pieces(two, "burst", twos))
            for broker in (one, two):
                found = [message.payload for message in await receive(broker, 10_000)]
                for sent in (ones, twos):
                    self._compare([payload for payload in found if payload[:1] == sent[0][:1]], sent)

    async def test_many_publishes_at_once(self) -> None:
        """Publishes that do not wait for one another all arrive, and each returns."""
        payloads = [b"%d" % number for number in range(500)]
        async with self._joined("items") as broker:
            await asyncio.gather(*(broker.publish("items", [payload]) for payload in payloads))
            await self._expect(broker, "items", payloads, is_ordered=False)

    # Life

    async def test_not_connected(self) -> None:
        """Before `connect` and after `close` a publish raises BrokerUnavailable, or what it took arrives."""
        broker = await self.make()
        async with self._joined("items") as other:
            for payload in (b"before", b"after"):
                with suppress(BrokerUnavailable):
                    await broker.publish("items", [payload])
                    await self._expect(other, "items", [payload])
                await broker.close()
                await broker.connect()
                await broker.close()
            await other.publish("items", [b"end"])
            await self._expect(other, "items", [b"end"])

    async def test_close_while_receiving(self) -> None:
        """`close` ends a `receive` that waits, is quick, and may be called twice."""
        async with self._joined("items") as broker:
            ended = asyncio.create_task(drain(broker))
            await asyncio.sleep(0)
            async with asyncio.timeout(3.0):
                await broker.close()
                await ended
                await broker.close()

    async def test_close_while_publishing(self) -> None:
        """A publish that runs when the adapter is closed returns or raises BrokerUnavailable."""
        async with self._joined("items") as broker:
            publishing = [asyncio.create_task(broker.publish("items", [b"x"] * 100)) for _ in range(10)]
            await asyncio.sleep(0)
            async with asyncio.timeout(REFUSED):
                await broker.close()
                done = await asyncio.gather(*publishing, return_exceptions=True)
            wrong = [
                error for error in done if error is not None and not isinstance(error, BrokerUnavailable)
            ]
            assert wrong == []

    async def test_cancelled_publish(self) -> None:
        """A publish that is cancelled leaves the adapter as it was."""
        async with self._joined("items") as broker:
            publishing = asyncio.create_task(broker.publish("items", [b"cancelled"] * 100))
            await asyncio.sleep(0)
            publishing.cancel()
            with suppress(asyncio.CancelledError):
                await publishing
            await broker.publish("items", [b"end"])
            async with asyncio.timeout(PATIENCE):
                async for delivery in broker.receive():
                    if delivery == Message("items", b"end"):
                        break

    async def test_reconnects_after_close(self) -> None:
        """A closed adapter can be connected again, and then has the topics subscribed since."""
        async with self._joined("items", "old") as broker:
            await broker.close()
            await broker.connect()
            await broker.subscribe(["items"])
            await broker.publish("old", [b"no"])
            await broker.publish("items", [b"again"])
            await self._expect(broker, "items", [b"again"])

    @asynccontextmanager
    async def _joined(self, *topics: str) -> AsyncGenerator[Broker, None]:
        broker = await self.make()
        try:
            async with asyncio.timeout(PATIENCE):
                await broker.connect()
                await broker.subscribe(topics)
                yield broker
        finally:
            async with asyncio.timeout(3.0):
                await broker.close()

    async def _expect(
        self, broker: Broker, topic: str, payloads: Sequence[bytes], *, is_ordered: bool = True
    ) -> None:
        found = await receive(broker, len(payloads))
        assert {message.topic for message in found} == {topic}
        self._compare([message.payload for message in found], payloads, is_ordered=is_ordered)

    def _compare(self, found: list[bytes], payloads: Sequence[bytes], *, is_ordered: bool = True) -> None:
        if is_ordered and self.is_ordered:
            assert found == list(payloads)
        else:
            assert sorted(found) == sorted(payloads)


class BrokerOutageContract(BrokerContract):
    """`BrokerContract`, and what an adapter does when its broker's server goes: override the four hooks."""

    async def stop_broker(self) -> None:
        """End the server at once, as a machine that loses power."""
        raise TypeError("override stop_broker")

    async def start_broker(self) -> None:
        """Start it again where it was, and return once it answers."""
        raise TypeError("override start_broker")

    async def freeze_broker(self) -> None:
        """Stop it answering while its connections stay open (SIGSTOP)."""
        raise TypeError("override freeze_broker")

    async def thaw_broker(self) -> None:
        """Let it go on."""
        raise TypeError("override thaw_broker")

    async def test_absent_broker(self) -> None:
        """Without its server `connect` raises BrokerUnavailable in time, and works once there is one."""
        broker = await self.make()
        await self.stop_broker()
        await raises(BrokerUnavailable, broker.connect())
        async with asyncio.timeout(PATIENCE):
            await self.start_broker()
            await broker.connect()
            await broker.subscribe(["items"])
            await broker.publish("items", [b"1"])
            await self._expect(broker, "items", [b"1"])
            await broker.close()

    async def test_restart(self) -> None:
        """A server that dies is noticed; what was published meanwhile raised; when it is back all works."""
        async with self._joined("items") as broker:
            await self.stop_broker()
            await raises(BrokerUnavailable, broker.publish("items", [b"lost"]))
            async with asyncio.timeout(_NOTICED):
                is_over = await self._noticed(broker)
            await self.start_broker()
            await self._back(broker, is_over=is_over)

    async def test_frozen_broker(self) -> None:
        """A server that says nothing is noticed though its connections stay open, and holds nobody up."""
        late = await self.make()
        async with self._joined("items") as broker, self._joined("items") as leaving:
            await self.freeze_broker()
            try:
                async with asyncio.timeout(3.0):
                    await leaving.close()
                await asyncio.gather(
                    raises(BrokerUnavailable, broker.publish("items", [b"lost"])),
                    raises(BrokerUnavailable, late.connect()),
                )
                async with asyncio.timeout(_NOTICED):
                    await self._noticed(broker)
                async with asyncio.timeout(3.0):
                    await broker.close()
                    await late.close()
            finally:
                await self.thaw_broker()
            await self._back(broker, is_over=True)

    async def _noticed(self, broker: Broker) -> bool:
        """Wait for the sign of an outage; whether the link is over, and not only lost."""
        try:
            async for delivery in broker.receive():
                if isinstance(delivery, Lost):
                    return False
        except BrokerUnavailable:
            return True
        raise AssertionError("receive ended without an error although nobody closed")

    async def _back(self, broker: Broker, *, is_over: bool) -> None:
        if is_over:
            await broker.close()
            await broker.connect()
            await broker.subscribe(["items"])
        else:
            async with asyncio.timeout(_NOTICED):
                async for delivery in broker.receive():
                    if isinstance(delivery, Restored):
                        break
        await broker.publish("items", [b"again"])
        async with asyncio.timeout(PATIENCE):
            async for delivery in broker.receive():
                if delivery == Message("items", b"again"):
                    break
