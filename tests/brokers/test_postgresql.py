"""The PostgreSQL adapter, on a real server, with both drivers."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg_pool import AsyncConnectionPool

from entity_sync.brokers.base import Broker, Message
from entity_sync.brokers.postgresql import PostgresBroker
from entity_sync.brokers.postgresql.letter import Letters, read
from entity_sync.errors import BrokerError, BrokerUnavailable, ConfigurationError, MissingExtra
from entity_sync.testing import BrokerOutageContract
from tests.support.outages import ServerOutages
from tests.support.servers import Server, running

pytestmark = pytest.mark.needs("postgres")

DRIVERS = ["asyncpg", "psycopg"]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running("postgresql", tmp_path) as server:
        yield server


class _Contract(ServerOutages, BrokerOutageContract):
    driver = ""

    @pytest.fixture(autouse=True)
    async def _server(self, server: Server) -> None:
        self.server = server

    async def make(self) -> Broker:
        return PostgresBroker(f"{self.server.url}?driver={self.driver}")


class TestAsyncpg(_Contract):
    driver = "asyncpg"


class TestPsycopg(_Contract):
    driver = "psycopg"


@pytest.fixture(params=DRIVERS)
async def broker(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[PostgresBroker]:
    broker = PostgresBroker(f"{server.url}?driver={request.param}")
    await broker.connect()
    await broker.subscribe(["items"])
    yield broker
    await broker.close()


async def first(broker: PostgresBroker, count: int = 1) -> list[Message]:
    found: list[Message] = []
    async with asyncio.timeout(10):
        async for delivery in broker.receive():
            assert isinstance(delivery, Message)
            found.append(delivery)
            if len(found) == count:
                break
    return found


async def ended(broker: PostgresBroker, within: float) -> str:
    async with asyncio.timeout(within):
        with pytest.raises(BrokerUnavailable) as caught:
            async for _ in broker.receive():
                pass
    return str(caught.value)


async def test_equal_payloads_of_one_transaction(broker: PostgresBroker):
    """PostgreSQL collapses equal notifications of a transaction; ours all arrive."""
    await broker.publish("items", [b"same"] * 5)
    assert await first(broker, 5) == [Message("items", b"same")] * 5


async def test_payload_that_is_too_long(broker: PostgresBroker):
    """What PostgreSQL cannot carry is refused, and the session goes on."""
    with pytest.raises(BrokerError, match="7999"):
        await broker.publish("items", [b"x" * 8_000])
    await broker.publish("items", [b"short"])
    assert await first(broker) == [Message("items", b"short")]


@pytest.mark.parametrize("number", [0, 1], ids=["listens", "notifies"])
async def test_session_that_the_server_ends(broker: PostgresBroker, server: Server, number: int):
    """A session that an administrator ends ends the link, whichever of the two it is."""
    connection = await asyncpg.connect(server.url)
    rows = await connection.fetch(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'entity-sync' ORDER BY backend_start, pid"
    )
    await connection.fetchval("SELECT pg_terminate_backend($1)", rows[number]["pid"])
    await connection.close()
    if number == 1:
        with pytest.raises(BrokerUnavailable):
            await broker.publish("items", [b"x"])
    await ended(broker, 5.0)
    await broker.connect()
    await broker.subscribe(["items"])
    await broker.publish("items", [b"again"])
    assert await first(broker) == [Message("items", b"again")]


async def test_frozen_server(broker: PostgresBroker, server: Server):
    """A stopped server is noticed within ten seconds, refuses publishes, and does not hold up close."""
    server.freeze()
    try:
        with pytest.raises(BrokerUnavailable):
            await broker.publish("items", [b"lost"])
        await ended(broker, 10.0)
        async with asyncio.timeout(4.0):
            await broker.close()
        with pytest.raises(BrokerUnavailable):
            await broker.connect()
    finally:
        server.thaw()


async def test_publish_that_is_cancelled(broker: PostgresBroker):
    """Cancelling a publish leaves the session usable, for those that wait behind it too."""
    tasks = [asyncio.create_task(broker.publish("items", [b"%d" % n] * 100)) for n in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    await broker.publish("items", [b"end"])
    async with asyncio.timeout(10):
        async for delivery in broker.receive():
            if delivery == Message("items", b"end"):
                break


async def test_pool(server: Server):
    """A ready-made pool lends two connections, gets them back clean, and stays open."""
    async with asyncpg.create_pool(server.url, min_size=1, max_size=2) as pool:
        for _ in range(2):
            broker = PostgresBroker(pool)
            await broker.connect()
            await broker.subscribe(["items"])
            await broker.publish("items", [b"1"])
            assert await first(broker) == [Message("items", b"1")]
            await broker.close()
            assert pool.get_idle_size() == pool.get_size()
            assert await pool.fetchval("SELECT count(*) FROM pg_listening_channels()") == 0


async def test_pool_of_psycopg(server: Server):
    """psycopg's pool lends and gets back its connections as asyncpg's does."""
    async with AsyncConnectionPool(server.url, min_size=1, max_size=2, open=False) as pool:
        for _ in range(2):
            broker = PostgresBroker(pool)
            await broker.connect()
            await broker.subscribe(["items"])
            await broker.publish("items", [b"1"])
            assert await first(broker) == [Message("items", b"1")]
            await broker.close()
            async with pool.connection() as connection:
                assert not connection.autocommit
                found = await connection.execute("SELECT count(*) FROM pg_listening_channels()")
                assert await found.fetchone() == (0,)


async def test_applications_in_one_database(server: Server):
    """Another channel is another application."""
    one, other = (PostgresBroker(f"{server.url}?channel={name}") for name in ("Shöp 'x'", "other"))
    for broker in (one, other):
        await broker.connect()
        await broker.subscribe(["items"])
    await other.publish("items", [b"theirs"])
    await one.publish("items", [b"ours"])
    assert await first(one) == [Message("items", b"ours")]
    for broker in (one, other):
        await broker.close()


async def test_foreign_notifications(broker: PostgresBroker, server: Server):
    """Texts on the channel that are not ours are ignored."""
    connection = await asyncpg.connect(server.url)
    for text in ("", "x", "0:items:z:1", "0:items:b:%%%", "0:items:b:a", ":::"):
        await connection.execute("SELECT pg_notify('entity_sync', $1)", text)
    await connection.close()
    await broker.publish("items", [b"ours"])
    assert await first(broker) == [Message("items", b"ours")]


@pytest.mark.parametrize("driver", DRIVERS)
async def test_refused_without_its_secret(server: Server, driver: str):
    """A database that is not there is told without the password of the URL."""
    broker = PostgresBroker(f"postgresql://postgres:hidden@127.0.0.1:{server.port}/nothing?driver={driver}")
    with pytest.raises(BrokerUnavailable) as caught:
        await broker.connect()
    assert "hidden" not in str(caught.value)
    assert str(server.port) in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://", "postgresql://h:x/", f"postgresql://h/?channel={'x' * 64}"])
def test_urls_that_cannot_be(url: str):
    """A URL that cannot be right fails when it is read."""
    with pytest.raises(ConfigurationError):
        PostgresBroker(url)


def test_unknown_driver():
    """A driver that there is not is named."""
    with pytest.raises(ConfigurationError, match="'libpq'"):
        PostgresBroker("postgresql://127.0.0.1/?driver=libpq")


@pytest.mark.parametrize(
    ("query", "missing", "extra"),
    [("", DRIVERS, "postgresql"), ("?driver=asyncpg", ["asyncpg"], "postgresql"),
     ("?driver=psycopg", ["psycopg"], "psycopg")],
)  # fmt: skip
def test_missing_driver(monkeypatch: pytest.MonkeyPatch, query: str, missing: list[str], extra: str):
    """A driver that is not installed is told at once, with the command that installs one."""
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'entity-sync\[{extra}\]'"):
        PostgresBroker(f"postgresql://127.0.0.1:1/{query}")


def test_other_driver(monkeypatch: pytest.MonkeyPatch):
    """Without asyncpg psycopg is taken."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    assert PostgresBroker("postgresql://127.0.0.1:1/")._driver == "psycopg"


def test_plaintext_is_warned_of(caplog: pytest.LogCaptureFixture):
    """A link to another machine that does not verify its server is warned of, without the password."""
    with caplog.at_level(logging.WARNING):
        PostgresBroker("postgresql://me:hidden@db.example/shop?sslmode=require")
    assert "verify-full" in caplog.text
    assert "hidden" not in caplog.text
    caplog.clear()
    PostgresBroker("postgresql://db.example/shop?sslmode=verify-full")
    assert caplog.text == ""


@settings(deadline=None)
@given(
    st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True),
    st.binary(max_size=300) | st.text().map(str.encode),
)
def test_any_payload(topic: str, payload: bytes):
    """Whatever the bytes, the text is one that PostgreSQL takes, and is read back."""
    text = Letters().write(topic, payload)
    assert "\0" not in text
    assert read(text) == Message(topic, payload)
