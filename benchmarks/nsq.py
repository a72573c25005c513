"""NSQ clients: publish and consume rates, CPU and delay of ours, ansq and pynsq on one nsqd, by turns."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

from benchmarks.figures import quantile, spread
from benchmarks.report import Report
from entity_sync.brokers.base import Message
from entity_sync.brokers.nsq import NsqBroker
from tests.support.servers import Nsqd

__all__ = ["DESCRIPTION", "EXAMPLE", "add_options", "run"]

DESCRIPTION = __doc__
EXAMPLE = "python -m benchmarks nsq --rounds 7    # the others, where installed: pip install ansq pynsq"
_CHANNEL = "benchmark#ephemeral"
_PATIENCE = 60.0  # seconds a step may take
_READY = 2_500  # of the rivals where rate counts, as ours; for delay they are best with 1


class Contender(ABC):
    """One client: a connection that publishes, and one that consumes."""

    name: ClassVar[str]
    needs: ClassVar[str | None] = None

    def __init__(self, port: int) -> None:
        self.port = port

    @abstractmethod
    async def open(self) -> None:
        """Connect to publish."""

    @abstractmethod
    async def publish(self, topic: str, body: bytes) -> None:
        """Return once nsqd accepted."""

    @abstractmethod
    async def listen(self, topic: str, take: Callable[[bytes], None], ready: int) -> None:
        """Hand over each message of a topic, and finish it."""

    @abstractmethod
    async def close(self) -> None:
        """Close all."""


class Ours(Contender):
    """`NsqBroker`, the whole adapter."""

    name = "entity-sync"

    async def open(self) -> None:
        self._broker = NsqBroker(f"nsq://127.0.0.1:{self.port}")
        self._task: asyncio.Task[None] | None = None
        await self._broker.connect()

    async def publish(self, topic: str, body: bytes) -> None:
        await self._broker.publish(topic, (body,))

    async def listen(self, topic: str, take: Callable[[bytes], None], ready: int) -> None:  # noqa: ARG002
        await self._broker.subscribe([topic])
        self._task = asyncio.create_task(self._receive(take))

    async def _receive(self, take: Callable[[bytes], None]) -> None:
        async for delivery in self._broker.receive():
            if isinstance(delivery, Message):
                take(delivery.payload)

    async def close(self) -> None:
        await self._broker.close()
        if self._task is not None:
            await self._task


class Ansq(Contender):
    """ansq's writer, and its raw connection, since its reader is fixed at one message at a time."""

    name = needs = "ansq"

    async def open(self) -> None:
        import ansq  # type: ignore[import-not-found, unused-ignore]

        self._ansq: Any = ansq
        self._reader: Any = None
        self._task: asyncio.Task[None] | None = None
        self._writer: Any = await ansq.create_writer(nsqd_tcp_addresses=[f"127.0.0.1:{self.port}"])

    async def publish(self, topic: str, body: bytes) -> None:
        response = await self._writer.pub(topic, body)
        if not response.is_ok:
            raise RuntimeError(f"ansq: {response}")

    async def listen(self, topic: str, take: Callable[[bytes], None], ready: int) -> None:
        self._reader = await self._ansq.open_connection("127.0.0.1", self.port)
        await self._reader.subscribe(topic, _CHANNEL, ready)
        self._task = asyncio.create_task(self._receive(take))

    async def _receive(self, take: Callable[[bytes], None]) -> None:
        async for message in self._reader.messages():
            take(message.body)
            await message.fin()

    async def close(self) -> None:
        await self._writer.close()
        if self._reader is not None and self._task is not None:
            await self._reader.close()
            await self._task


class Pynsq(Contender):
    """pynsq on the same event loop, through tornado."""

    name, needs = "pynsq", "nsq"

    async def open(self) -> None:
        import nsq  # type: ignore[import-not-found, unused-ignore]

        self._nsq: Any = nsq
        self._reader: Any = None
        logging.getLogger("nsq").setLevel(logging.CRITICAL)  # it takes a close for a failure
        # Otherwise a closed writer would connect again in the middle of somebody else's turn.
        self._writer: Any = nsq.Writer([f"127.0.0.1:{self.port}"], reconnect_interval=86_400.0)
        async with asyncio.timeout(_PATIENCE):
            while not self._writer.conns:
                await asyncio.sleep(0.01)

    async def publish(self, topic: str, body: bytes) -> None:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._writer.pub(topic, body, lambda _conn, data: future.set_result(data))
        answer = await future
        if isinstance(answer, Exception):
            raise answer

    async def listen(self, topic: str, take: Callable[[bytes], None], ready: int) -> None:
        def handle(message: Any) -> bool:
            take(message.body)
            return True

        self._reader = self._nsq.Reader(
            topic, _CHANNEL, handle, nsqd_tcp_addresses=[f"127.0.0.1:{self.port}"], max_in_flight=ready
        )

    async def close(self) -> None:
        for conn in list(self._writer.conns.values()):
            conn.close()
        if self._reader is not None:
            self._reader.close()
        await asyncio.sleep(0.2)


_CONTENDERS: tuple[type[Contender], ...] = (Ours, Ansq, Pynsq)


def add_options(parser: argparse.ArgumentParser) -> None:
    """This benchmark's own options."""
    parser.add_argument("--rounds", type=int, default=5, help="of each client, by turns (default 5)")
    parser.add_argument("--single", type=int, default=2_000, help="published one by one (default 2000)")
    parser.add_argument("--many", type=int, default=20_000, help="published 500 in flight (default 20000)")
    parser.add_argument(
        "--paced", type=int, default=250, help="published at 50/s for the delay (default 250)"
    )


def run(options: argparse.Namespace, report: Report) -> None:
    """Run it."""
    asyncio.run(_run(options, report))


class _Nsqd(Nsqd):
    """One that keeps a whole round in memory, so that no client waits for its disk."""

    def command(self) -> list[str]:
        return [*super().command(), "--mem-queue-size=1000000"]


async def _run(options: argparse.Namespace, report: Report) -> None:
    contenders = [one for one in _CONTENDERS if one.needs is None or find_spec(one.needs)]
    for one in _CONTENDERS:
        if one not in contenders:
            report.note(f"{one.name} is not installed and was not measured: pip install {one.name}")
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    source = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as directory:
        server = _Nsqd(Path(directory))
        await server.start()
        try:
            for turn in range(options.rounds):
                for kind in contenders if turn % 2 == 0 else contenders[::-1]:
                    report.progress(f"round {turn + 1} of {options.rounds}: {kind.name}")
                    found = figures[kind.name]
                    is_right = await _round(kind(server.port), f"rate.{turn}", options, source, found)
                    if not is_right:
                        report.check(False, f"{kind.name}: what was consumed is what was published")
            for kind in contenders:
                report.progress(f"delay: {kind.name}")
                figures[kind.name]["delay"] = await _delays(kind(server.port), options.paced, source, report)
        finally:
            await server.stop()
    _tell(figures, report)


async def _round(
    contender: Contender,
    topic: str,
    options: argparse.Namespace,
    source: random.Random,
    found: dict[str, list[float]],
) -> bool:
    """Publish one by one, publish 500 in flight, consume all of it; whether it is the same."""
    topic = f"{topic}.{contender.name}"
    single, many = (_bodies(source, count) for count in (options.single, options.many))
    await contender.open()
    try:
        async with asyncio.timeout(_PATIENCE):
            await contender.publish(topic, b"warm")
            found["single"].append(_rate(single, *await _measured(_publish(contender, topic, single, 1))))
            spent = await _measured(_publish(contender, topic, many, 500))
            found["many"].append(_rate(many, *spent))
            found["many CPU"].append(spent[1] / len(many) * 1e6)
        arrived, spent = await _consume(contender, topic, len(single) + len(many) + 1)
    finally:
        await contender.close()
    found["consume"].append(_rate(arrived, *spent))
    found["consume CPU"].append(spent[1] / len(arrived) * 1e6)
    return Counter(arrived) == Counter([b"warm", *single, *many])


async def _consume(contender: Contender, topic: str, count: int) -> tuple[list[bytes], tuple[float, float]]:
    """What arrived, and the seconds and CPU seconds from the first message to the last."""
    arrived: list[bytes] = []
    began = ended = (0.0, 0.0)
    done = asyncio.Event()

    def take(body: bytes) -> None:
        nonlocal began, ended
        if not arrived:
            began = _clocks()
        arrived.append(body)
        if len(arrived) == count:
            ended = _clocks()
            done.set()

    await contender.listen(topic, take, _READY)
    async with asyncio.timeout(_PATIENCE):
        await done.wait()
    return arrived, (ended[0] - began[0], ended[1] - began[1])


async def _delays(contender: Contender, count: int, source: random.Random, report: Report) -> list[float]:
    """Milliseconds from before each publish to its arrival, at 50 a second."""
    sent: dict[bytes, float] = {}
    delays: dict[bytes, float] = {}
    topic = f"delay.{contender.name}"
    bodies = _bodies(source, count)
    warm = asyncio.Event()

    def take(body: bytes) -> None:
        delays[body] = time.perf_counter()
        warm.set()

    await contender.open()
    try:
        await contender.listen(topic, take, _READY if isinstance(contender, Ours) else 1)
        async with asyncio.timeout(_PATIENCE):
            await contender.publish(topic, b"warm")
            await warm.wait()  # the subscription works
            for body in bodies:
                sent[body] = time.perf_counter()
                await contender.publish(topic, body)
                await asyncio.sleep(0.02)
            while len(delays) <= count:
                await asyncio.sleep(0.01)
    finally:
        await contender.close()
    report.check(delays.keys() == {b"warm", *bodies}, f"{contender.name}: {count} paced messages arrived")
    return [(delays[body] - at) * 1e3 for body, at in sent.items()]


async def _publish(contender: Contender, topic: str, bodies: list[bytes], in_flight: int) -> None:
    waiting = iter(bodies)

    async def work() -> None:
        for body in waiting:
            await contender.publish(topic, body)

    await asyncio.gather(*(work() for _ in range(in_flight)))


async def _measured(work: Any) -> tuple[float, float]:
    before = _clocks()
    await work
    after = _clocks()
    return after[0] - before[0], after[1] - before[1]


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _rate(bodies: list[bytes], seconds: float, _cpu: float) -> float:
    return len(bodies) / seconds


def _bodies(source: random.Random, count: int) -> list[bytes]:
    """What a Change looks like, each one different."""
    return [b'{"entity":"items","id":"%d.%d"}' % (n, source.getrandbits(32)) for n in range(count)]


def _tell(figures: dict[str, dict[str, list[float]]], report: Report) -> None:
    for name, found in figures.items():
        report.row(
            client=name,
            **{
                "one by one /s": spread(found["single"]),
                "500 in flight /s": spread(found["many"]),
                "CPU µs each": spread(found["many CPU"]),
                "consume /s": spread(found["consume"]),
                "µs each": spread(found["consume CPU"]),
                "delay p50 ms": quantile(found["delay"], 0.5),
                "p99 ms": quantile(found["delay"], 0.99),
            },
        )
    ours = figures.pop(Ours.name)
    report.check(not report.failed, "what was consumed is what was published, in every round")
    report.goal("delay p50 ms at 50 messages/s", quantile(ours["delay"], 0.5), 1.0)
    if figures:
        for what in ("many", "consume"):
            best = max(median(found[what]) for found in figures.values())
            report.goal(f"{what}: the better rival's rate ÷ ours", best / median(ours[what]), 0.5)
