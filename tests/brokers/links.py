"""What the adapters over a client library share: outages, secrets, TLS, and nothing left behind."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import ipaddress
import logging
import os
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from entity_sync.brokers.base import Broker, Delivery, Lost, Message, Restored
from entity_sync.brokers.registry import broker_from
from entity_sync.errors import BrokerUnavailable, ConfigurationError, MissingExtra
from tests.support.servers import Server

__all__ = ["Certificates", "LinkContract", "certificates", "heard", "joined", "took"]

NOTICED = 10.0
"""Seconds within which a server that says nothing anymore is noticed."""
ANSWERED = 5.5
"""Seconds within which a call to such a server returns."""


@dataclass(frozen=True)
class Certificates:
    ca: Path
    cert: Path
    key: Path


def certificates(directory: Path) -> Certificates:
    """A certificate for 127.0.0.1, signed by an authority of its own."""
    now = dt.datetime.now(dt.UTC)

    def sign(name: str, subject_key: ec.EllipticCurvePrivateKey, *, is_ca: bool) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
            .public_key(subject_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
            .sign(authority, hashes.SHA256())
        )

    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    made = Certificates(directory / "ca.pem", directory / "cert.pem", directory / "key.pem")
    pem = serialization.Encoding.PEM
    made.ca.write_bytes(sign("authority", authority, is_ca=True).public_bytes(pem))
    made.cert.write_bytes(sign("server", key, is_ca=False).public_bytes(pem))
    made.key.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


@asynccontextmanager
async def joined(broker: Broker, *topics: str) -> AsyncGenerator[Broker, None]:
    await broker.connect()
    try:
        await broker.subscribe(topics)
        yield broker
    finally:
        await broker.close()


async def heard(
    broker: Broker, until: int | Callable[[list[Delivery]], bool], within: float = 5.0
) -> list[Delivery]:
    """What arrives until it is so many, or something is true of it."""
    got: list[Delivery] = []
    async with asyncio.timeout(within):
        async for delivery in broker.receive():
            got.append(delivery)
            if len(got) == until if isinstance(until, int) else until(got):
                break
    return got


async def took(step: Awaitable[object]) -> float:
    """Seconds until a step ended, in which way ever."""
    start = time.monotonic()
    await asyncio.gather(step, return_exceptions=True)
    return time.monotonic() - start


async def ends(broker: Broker, within: float) -> None:
    with pytest.raises(BrokerUnavailable):
        await heard(broker, lambda _: False, within)


class LinkContract:
    """Inherit it, name `scheme` and `library`, and have fixtures `server`, `guarded` and `encrypted`."""

    scheme: str
    library: str
    query: str = ""

    def make_for(self, server: Server) -> Broker:
        return broker_from(server.url + self.query)

    async def test_another_loop(self, server: Server):
        """A closed adapter can be opened again on another loop, and there too several calls may meet."""
        broker = self.make_for(server)

        async def use() -> None:
            async with joined(broker, "items"):
                await asyncio.gather(
                    *(broker.publish("items", [b"x"]) for _ in range(3)),
                    *(broker.subscribe([topic]) for topic in ("one", "two")),
                )

        for _ in range(2):
            await asyncio.to_thread(lambda: asyncio.run(use()))

    async def test_server_killed(self, server: Server):
        """A server that dies ends `receive` at once, and nothing works until it is back."""
        broker = self.make_for(server)
        async with joined(broker, "items"):
            server.kill()
            await ends(broker, NOTICED)
            with pytest.raises(BrokerUnavailable):
                await broker.publish("items", [b"1"])
            await broker.close()
            with pytest.raises(BrokerUnavailable):
                await broker.connect()
            await broker.close()
            await server.start()
            await broker.connect()
            await broker.subscribe(["items"])
            await broker.publish("items", [b"2"])
            assert await heard(broker, 1) == [Message("items", b"2")]

    @pytest.mark.slow
    async def test_server_frozen(self, server: Server):
        """A server that says nothing anymore is noticed, and holds up no call for long."""
        broker, late = self.make_for(server), self.make_for(server)
        async with joined(broker, "items"):
            server.freeze()
            receiving = asyncio.create_task(ends(broker, NOTICED))
            assert await took(late.connect()) < ANSWERED
            await late.close()
            await receiving
            with pytest.raises(BrokerUnavailable):
                await broker.publish("items", [b"1"])
            assert await took(broker.close()) < 1.5
            server.thaw()

    @pytest.mark.slow
    @pytest.mark.parametrize("size", [1, 4_096])
    async def test_publish_to_a_frozen_server(self, server: Server, size: int):
        """`publish` says within its time that the server took nothing, however much waits to be written."""
        broker = self.make_for(server)
        async with joined(broker, "items"):
            server.freeze()
            start = time.monotonic()
            with pytest.raises(BrokerUnavailable):
                await broker.publish("items", [b"x" * size] * 10_000)
            assert time.monotonic() - start < ANSWERED
            assert await took(broker.close()) < 1.5
            server.thaw()

    async def test_publish_cancelled(self, server: Server):
        """A `publish` that is cancelled while the server is silent harms nobody else's."""
        broker = self.make_for(server)
        async with joined(broker, "items"):
            server.freeze()
            publishing = asyncio.create_task(broker.publish("items", [b"1"]))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await publishing
            server.thaw()
            await broker.publish("items", [b"2"])
            assert Message("items", b"2") in await heard(
                broker, lambda got: got[-1] == Message("items", b"2")
            )

    async def test_publishes_at_once(self, server: Server):
        """Any number of calls at the same time are all answered, and nothing is mixed up."""
        broker = self.make_for(server)
        async with joined(broker, "items", "users"):
            async with asyncio.TaskGroup() as group:
                for number in range(200):
                    group.create_task(broker.publish(("items", "users")[number % 2], [b"%d" % number] * 3))
                    group.create_task(broker.subscribe([f"other.{number}"]))
            got = await heard(broker, 600)
            assert {(m.topic, int(m.payload) % 2) for m in got if isinstance(m, Message)} == {
                ("items", 0),
                ("users", 1),
            }

    async def test_overflow(self, server: Server, monkeypatch: pytest.MonkeyPatch):
        """Who does not take what arrives is told that some of it is lost, and waits for no memory."""
        monkeypatch.setattr("entity_sync.brokers.inbox._MAX_COUNT", 100)
        broker, other = self.make_for(server), self.make_for(server)
        async with joined(broker, "items"), joined(other, "end"):
            await broker.publish("items", [b"%d" % number for number in range(150)])
            await other.publish("end", [b"now"])
            await heard(other, 1)
            await broker.publish("items", [b"last"])
            got = await heard(broker, lambda got: got[-1] == Message("items", b"last"))
            assert got[:2] == [Lost(), Restored()]
            assert len(got) < 100

    async def test_nobody_answers(self, server: Server):
        """Nothing at the address, or something that takes connections and is silent: both are unavailable."""
        await server.stop()
        broker = self.make_for(server)
        with pytest.raises(BrokerUnavailable):
            await broker.connect()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(silent, "127.0.0.1", server.port):
            start = time.monotonic()
            with pytest.raises(BrokerUnavailable):
                await broker.connect()
            assert time.monotonic() - start < ANSWERED
            await broker.close()

    async def test_closed(self, server: Server):
        """A broker that is not connected says so, whatever is asked of it."""
        broker = self.make_for(server)
        for step in (
            broker.publish("items", [b"1"]),
            broker.subscribe(["items"]),
            broker.unsubscribe(["items"]),
            heard(broker, 1),
        ):
            with pytest.raises(BrokerUnavailable, match="closed"):
                await step
        await broker.close()

    async def test_leaves_nothing(self, server: Server):
        """After `close`, in an outage too, no task and no socket is left."""
        before = asyncio.all_tasks(), _sockets()
        for number in range(3):
            broker = self.make_for(server)
            async with joined(broker, "items", f"users{number}"):
                await broker.publish("items", [b"1"])
        broker = self.make_for(server)
        async with joined(broker, "items"):
            server.kill()
            await ends(broker, NOTICED)
        with pytest.raises(BrokerUnavailable):
            await broker.connect()
        del broker
        gc.collect()
        async with asyncio.timeout(1.0):
            while (asyncio.all_tasks(), _sockets()) != before:
                await asyncio.sleep(0.01)

    async def test_wrong_secret(self, guarded: Server):
        """Who brings a wrong secret is refused, and the secret is in no text; the right one is let in."""
        good = guarded.url
        broker = broker_from(good.replace("s%40cret", "wr%40ng") + self.query)
        with pytest.raises(BrokerUnavailable) as error:
            await broker.connect()
        assert "wr@ng" not in str(error.value)
        assert "wr%40ng" not in str(error.value)
        assert error.value.__cause__ is None
        await broker.close()
        async with joined(broker_from(good + self.query), "items") as broker:
            await broker.publish("items", [b"1"])
            assert await heard(broker, 1) == [Message("items", b"1")]

    async def test_tls(self, encrypted: tuple[Server, Certificates]):
        """A server whose authority we name is trusted, one that nobody vouches for is not."""
        server, made = encrypted
        mark = "&" if self.query else "?"
        async with joined(broker_from(f"{server.url}{self.query}{mark}ca={made.ca}"), "items") as broker:
            await broker.publish("items", [b"x" * 100_000] * 10)
            assert len(await heard(broker, 10)) == 10
        stranger = broker_from(f"{server.url}{self.query}")
        with pytest.raises(BrokerUnavailable):
            await stranger.connect()
        await stranger.close()

    @pytest.mark.slow
    async def test_tls_frozen(self, encrypted: tuple[Server, Certificates]):
        """An encrypted link to a frozen server is closed as fast as any."""
        server, made = encrypted
        mark = "&" if self.query else "?"
        broker = broker_from(f"{server.url}{self.query}{mark}ca={made.ca}")
        before = _sockets()
        async with joined(broker, "items"):
            server.freeze()
            assert await took(broker.publish("items", [b"x" * 4_096] * 5_000)) < ANSWERED
            assert await took(broker.close()) < 1.5
            async with asyncio.timeout(1.0):
                while _sockets() != before:
                    await asyncio.sleep(0.01)
            server.thaw()

    def test_missing_library(self, monkeypatch: pytest.MonkeyPatch):
        """Without the client library the error names the command that installs it."""
        for name in [name for name in sys.modules if name.startswith(f"entity_sync.brokers.{self.library}")]:
            monkeypatch.delitem(sys.modules, name)
        for name in [name for name in sys.modules if name.split(".")[0] == self.library]:
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtra, match=rf"entity-sync\[{self.library}\]"):
            broker_from(f"{self.scheme}://127.0.0.1")

    @pytest.mark.parametrize(
        "rest", ["", "127.0.0.1:port", "127.0.0.1?speed=9", "127.0.0.1/x?ca=/no/such/file"]
    )
    def test_bad_url(self, rest: str):
        """A mistake in the URL is told when it is configured, without the secret in it."""
        secure = {"nats": "tls", "redis": "rediss"}[self.scheme]
        with pytest.raises(ConfigurationError) as error:
            broker_from(f"{secure}://user:s3cret@{rest}")
        assert "s3cret" not in str(error.value)

    def test_plaintext(self, caplog: pytest.LogCaptureFixture):
        """A link that leaves the machine unencrypted is warned of, without the secret."""
        secure = {"nats": "tls", "redis": "rediss"}[self.scheme]
        with caplog.at_level(logging.WARNING):
            broker_from(f"{self.scheme}://127.0.0.1")
            broker_from(f"{secure}://broker.example")
            assert caplog.messages == []
            broker_from(f"{self.scheme}://user:s3cret@broker.example")
        assert [secure in message for message in caplog.messages] == [True]
        assert "s3cret" not in caplog.text


def _sockets() -> int:
    count = 0
    for entry in os.scandir("/proc/self/fd"):
        try:
            count += str(Path(entry.path).readlink()).startswith("socket:")
        except FileNotFoundError:
            continue
    return count
