"""The PostgreSQL adapter, on a real server, with both drivers."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg_pool import AsyncConnectionPool

from entity_sync.brokers.base import Broker, Message
from entity_sync.brokers.postgresql import PostgresBroker
from entity_sync.brokers.postgresql.letter import Letters, read
from entity_sync.brokers.registry import broker_from
from entity_sync.errors import BrokerError, BrokerUnavailable, ConfigurationError, MissingExtra
from entity_sync.testing import BrokerOutageContract
from tests.brokers.links import (
    ANSWERED,
    NOTICED,
    Certificates,
    LinkContract,
    certificates,
    ends,
    heard,
    joined,
    took,
)
from tests.support.outages import ServerOutages
from tests.support.servers import PostgresServer, Server

pytestmark = pytest.mark.needs("postgres")

DRIVERS = ["asyncpg", "psycopg"]
LISTENS, NOTIFIES = "^(LISTEN|SELECT 1)", "pg_notify"
"""What the last statement of each session looks like."""


class ConfiguredServer(PostgresServer):
    """With more arguments than the usual one, and with passwords where it `asks` for them."""

    arguments: tuple[str, ...] = ()
    asks = ""

    def command(self) -> list[str]:
        command = [*super().command(), *self.arguments]
        if self.asks:
            (self._home / "data" / "pg_hba.conf").write_text(f"host all all 127.0.0.1/32 {self.asks}\n")
        return command

    def greeting(self) -> tuple[bytes, bytes]:
        question, answer = super().greeting()
        return question, b"SCRAM-SHA-256" if self.asks else answer

    def owned(self, name: str, content: bytes | None = None) -> Path:
        """A file, or without content a directory, that belongs to the server's user alone."""
        path = self._home / name
        if content is None:
            path.mkdir(mode=0o700)
        else:
            path.write_bytes(content)
            path.chmod(0o600)
        for place in (path, self._home):
            self._give(place)
        return path

    def _give(self, path: Path) -> None:
        user, group = self._identity()
        if user is not None and group is not None:
            os.chown(path, user, group)


class LastingServer(PostgresServer):
    """One whose data outlive `stop`."""

    async def stop(self) -> None:
        if self.is_running:
            self.kill()

    async def remove(self) -> None:
        await super().stop()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LastingServer]:
    server = LastingServer(tmp_path_factory.mktemp("postgresql"))
    yield server
    asyncio.run(server.remove())


@pytest.fixture
async def server(lasting: LastingServer) -> Server:
    """One for all tests, since it takes long to make, but with nothing left of the test before."""
    if lasting.is_running:
        lasting.thaw()
        await end_sessions(lasting)
    else:
        await lasting.start()
    return lasting


@pytest.fixture
async def configured(tmp_path: Path) -> AsyncIterator[ConfiguredServer]:
    server = ConfiguredServer(tmp_path)
    yield server
    await server.stop()


@pytest.fixture
async def guarded(configured: ConfiguredServer) -> Server:
    await configured.start()
    async with administrator(configured) as connection:
        await connection.execute("CREATE USER node PASSWORD 's@cret'")
    configured.terminate()
    configured.asks = "scram-sha-256"
    configured.url = f"postgresql://node:s%40cret@127.0.0.1:{configured.port}/postgres"
    await configured.start()
    return configured


@pytest.fixture
async def encrypted(configured: ConfiguredServer, tmp_path: Path) -> tuple[Server, Certificates]:
    made = certificates(tmp_path)
    cert, key = (configured.owned(file.name, file.read_bytes()) for file in (made.cert, made.key))
    configured.arguments = ("-c", "ssl=on", "-c", f"ssl_cert_file={cert}", "-c", f"ssl_key_file={key}")
    await configured.start()
    return configured, made


@pytest.fixture(params=DRIVERS)
async def broker(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    async with joined(PostgresBroker(f"{server.url}?driver={request.param}"), "items") as broker:
        yield broker


@asynccontextmanager
async def administrator(server: Server) -> AsyncGenerator[Any, None]:
    connection = await asyncpg.connect(server.url)
    try:
        yield connection
    finally:
        await connection.close()


async def process_of(server: Server, statement: str) -> int:
    """The process of the one session whose last statement looks so."""
    async with administrator(server) as connection:
        find = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query ~ $1"
        [row] = await connection.fetch(find, statement)
        return int(row["pid"])


async def end_sessions(server: Server, statement: str = "") -> None:
    """As an administrator, end the sessions whose last statement looks so."""
    async with administrator(server) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND query ~ $1",
            statement,
        )


async def sessions(server: Server) -> int:
    async with administrator(server) as connection:
        find = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'entity-sync'"
        return int(await connection.fetchval(find))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is not about the times themselves, which `BrokerOutageContract` holds the adapter to."""
    monkeypatch.setattr("entity_sync.brokers.postgresql.session._PROBE", 0.5)
    for module in ("link", "session"):
        monkeypatch.setattr(f"entity_sync.brokers.postgresql.{module}.PATIENCE", 1.5)


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


class _Link(LinkContract):
    @pytest.mark.usefixtures("impatient")
    async def test_server_frozen(self, server: Server):
        """A server that says nothing anymore is noticed, and holds up no call for long."""
        await super().test_server_frozen(server)

    @pytest.mark.usefixtures("impatient")
    async def test_nobody_answers(self, server: Server):
        """Nothing at the address, or something silent: both are unavailable, and no socket stays open."""
        await super().test_nobody_answers(server)
        async with asyncio.timeout(1.0):
            while len(asyncio.all_tasks()) > 1:  # the silent one reads until we hang up
                await asyncio.sleep(0)

    async def test_tls(self, encrypted: tuple[Server, Certificates]):
        """A server whose authority we name is trusted, one that nobody vouches for is not."""
        server, made = encrypted
        trusted = f"{server.url}{self.query}&sslmode=verify-full&sslrootcert={made.ca}"
        async with joined(broker_from(trusted), "items") as broker:
            await broker.publish("items", [b"x" * 4_000] * 1_000)
            assert len(await heard(broker, 1_000)) == 1_000
        stranger = broker_from(trusted.replace(str(made.ca), str(made.cert)))
        with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
            await stranger.connect()

    @pytest.mark.slow
    async def test_tls_frozen(self, encrypted: tuple[Server, Certificates]):
        """An encrypted link to a frozen server is closed as fast as any."""
        server, made = encrypted
        url = f"{server.url}{self.query}&sslmode=verify-full&sslrootcert={made.ca}"
        async with joined(broker_from(url), "items") as broker:
            server.freeze()
            publishing = asyncio.create_task(broker.publish("items", [b"x" * 4_096] * 5_000))
            await asyncio.sleep(0)
            assert await took(broker.close()) < 3.0  # the event loop encrypts 20 MB meanwhile
            assert await took(publishing) < ANSWERED
            server.thaw()

    @pytest.mark.parametrize(
        "rest", ["", "h:x/", f"h/?channel={'x' * 64}", "h/?driver=libpq", "h/?host=other", "?host=other"]
    )
    def test_bad_url(self, rest: str):
        """A mistake in the URL is told when it is configured, without the secret in it."""
        with pytest.raises(ConfigurationError) as error:
            broker_from(f"postgresql://user:s3cret@{rest}")
        assert "s3cret" not in str(error.value)

    def test_plaintext(self, caplog: pytest.LogCaptureFixture):
        """A link to another machine that does not verify its server is warned of, without the secret."""
        with caplog.at_level(logging.WARNING):
            for safe in ("127.0.0.1/x", "db.example/x?sslmode=verify-full", "/x?host=/run", "%2Frun/x"):
                broker_from(f"postgresql://me:s3cret@{safe}")
            assert caplog.messages == []
            broker_from("postgresql://me:s3cret@db.example/x?sslmode=require")
        assert ["verify-full" in message for message in caplog.messages] == [True]
        assert "s3cret" not in caplog.text

    def test_missing_library(self, monkeypatch: pytest.MonkeyPatch):
        """Without a driver the error names the command that installs one."""
        for name in DRIVERS:
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtra, match=r"pip install 'entity-sync\[postgresql\]'"):
            broker_from("postgres://127.0.0.1:1/")


class TestAsyncpgLink(_Link):
    query = "?driver=asyncpg"


class TestPsycopgLink(_Link):
    query = "?driver=psycopg"


async def test_equal_payloads_of_one_transaction(broker: Broker):
    """PostgreSQL collapses equal notifications of a transaction; ours all arrive."""
    await broker.publish("items", [b"same"] * 5)
    assert await heard(broker, 5) == [Message("items", b"same")] * 5


async def test_payload_that_is_too_long(broker: Broker):
    """What PostgreSQL cannot carry is refused, and the session goes on."""
    with pytest.raises(BrokerError, match="7999"):
        await broker.publish("items", [b"x" * 8_000])
    await broker.publish("items", [b"short"])
    assert await heard(broker, 1) == [Message("items", b"short")]


async def test_session_that_listens_is_ended(broker: Broker, server: Server):
    """When an administrator ends the session that listens the link is over, and a new one works."""
    await end_sessions(server, LISTENS)
    await ends(broker, 5.0)
    with pytest.raises(BrokerUnavailable):
        await broker.subscribe(["users"])
    await broker.connect()
    await broker.subscribe(["items"])
    await broker.publish("items", [b"again"])
    assert await heard(broker, 1) == [Message("items", b"again")]


async def test_session_that_notifies_is_ended(broker: Broker, server: Server):
    """The end of the session that notifies costs one publish at most, and nothing that is listened to."""
    await broker.publish("items", [b"1"])
    await end_sessions(server, NOTIFIES)
    with suppress(BrokerUnavailable):
        await broker.publish("items", [b"1"])
    await broker.publish("items", [b"2"])
    got = await heard(broker, lambda got: got[-1] == Message("items", b"2"))
    assert set(got[:-1]) == {Message("items", b"1")}
    assert await sessions(server) == 2


@pytest.mark.usefixtures("impatient")
async def test_session_that_notifies_is_silent(broker: Broker, server: Server):
    """A session that goes silent alone, as in a black hole, is given up by the publish that finds it so."""
    await broker.publish("items", [b"1"])
    silent = await process_of(server, NOTIFIES)
    os.kill(silent, signal.SIGSTOP)
    assert await took(broker.publish("items", [b"lost"])) < ANSWERED
    await broker.publish("items", [b"2"])
    assert await heard(broker, 2) == [Message("items", b"1"), Message("items", b"2")]
    os.kill(silent, signal.SIGCONT)


@pytest.mark.usefixtures("impatient")
async def test_session_that_listens_is_silent(broker: Broker, server: Server):
    """A session that listens and goes silent alone is noticed, although publishes are accepted."""
    silent = await process_of(server, LISTENS)
    os.kill(silent, signal.SIGSTOP)
    await broker.publish("items", [b"not heard"])
    await ends(broker, NOTICED)
    assert await took(broker.close()) < 1.5
    os.kill(silent, signal.SIGCONT)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_publish_that_the_server_refuses(server: Server, driver: str):
    """What the server refuses, as when its queue is full, is told with its reason, and the link goes on."""
    async with administrator(server) as connection:
        await connection.execute("CREATE USER node; REVOKE EXECUTE ON FUNCTION pg_notify FROM public")
        url = server.url.replace("postgres@", "node@")
        async with joined(PostgresBroker(f"{url}?driver={driver}"), "items") as broker:
            with pytest.raises(BrokerUnavailable, match="permission denied for function pg_notify"):
                await broker.publish("items", [b"refused"])
            await connection.execute("GRANT EXECUTE ON FUNCTION pg_notify TO public")
            await broker.publish("items", [b"taken"])
            assert await heard(broker, 1) == [Message("items", b"taken")]
        await connection.execute("DROP USER node")


@pytest.mark.parametrize("driver", DRIVERS)
async def test_first_subscriptions_at_once(server: Server, driver: str):
    """Whoever subscribes at the same time as others hears each message once."""
    broker = PostgresBroker(f"{server.url}?driver={driver}")
    async with joined(broker):
        await broker.close()
        await broker.connect()
        await asyncio.gather(*(broker.subscribe([f"items.{number}"]) for number in range(5)))
        await broker.publish("items.1", [b"1"])
        await broker.publish("items.4", [b"4"])
        assert await heard(broker, 2) == [Message("items.1", b"1"), Message("items.4", b"4")]
        assert await sessions(server) == 2


@pytest.mark.parametrize("driver", DRIVERS)
async def test_publisher_alone(server: Server, driver: str):
    """Who only publishes holds one session, and PostgreSQL wakes nobody for it."""
    broker = PostgresBroker(f"{server.url}?driver={driver}")
    await broker.connect()
    await broker.publish("items", [b"1"])
    assert await sessions(server) == 1
    await broker.close()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_closed_while_connecting(server: Server, driver: str):
    """A broker that is closed, or given up, while it connects leaves no session at the server."""
    for turns in range(40):
        broker = PostgresBroker(f"{server.url}?driver={driver}")
        connecting = asyncio.create_task(broker.connect())
        for _ in range(turns):
            await asyncio.sleep(0)
        await broker.close()
        with suppress(BrokerUnavailable):
            await connecting
        await broker.close()
    async with asyncio.timeout(5.0):
        while await sessions(server):
            await asyncio.sleep(0.01)


@asynccontextmanager
async def pool_of(server: Server, driver: str) -> AsyncGenerator[Any, None]:
    if driver == "asyncpg":
        async with asyncpg.create_pool(server.url, min_size=1, max_size=2) as pool:
            yield pool
    else:
        async with AsyncConnectionPool(
            server.url, min_size=1, max_size=2, open=False, kwargs={"autocommit": True}
        ) as pool:
            yield pool


@pytest.mark.parametrize("driver", DRIVERS)
async def test_pool(server: Server, driver: str):
    """A ready-made pool lends two connections, gets them back as they were, and stays open."""
    async with pool_of(server, driver) as pool:
        for _ in range(2):
            async with joined(PostgresBroker(pool), "items") as broker:
                await broker.publish("items", [b"1"])
                assert await heard(broker, 1) == [Message("items", b"1")]
            async with pool.acquire() if driver == "asyncpg" else pool.connection() as connection:
                assert driver == "asyncpg" or connection.autocommit
                await connection.execute(
                    "DO $$ BEGIN ASSERT (SELECT count(*) = 0 FROM pg_listening_channels()); END $$"
                )


@pytest.mark.parametrize("driver", DRIVERS)
async def test_pool_in_outages(server: Server, driver: str):
    """However often its connections end, a pool lends new ones: none is kept for good."""
    async with pool_of(server, driver) as pool:
        broker = PostgresBroker(pool)
        for _ in range(4):
            async with joined(broker, "items"):
                await broker.publish("items", [b"1"])
                assert await heard(broker, 1) == [Message("items", b"1")]
                await end_sessions(server)
                await ends(broker, 5.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("driver", DRIVERS)
async def test_pool_of_a_frozen_server(server: Server, driver: str):
    """A pool's connections to a frozen server hold up neither a publish nor `close`."""
    async with pool_of(server, driver) as pool:
        broker = PostgresBroker(pool)
        async with joined(broker, "items"):
            server.freeze()
            assert await took(broker.publish("items", [b"1"])) < ANSWERED
            assert await took(broker.close()) < 1.5
            server.thaw()
        async with joined(broker, "items"):
            await broker.publish("items", [b"2"])
            assert Message("items", b"2") in await heard(
                broker, lambda got: got[-1] == Message("items", b"2")
            )


def test_neither_url_nor_pool():
    """What is no source of connections is refused at once."""
    with pytest.raises(ConfigurationError, match="not int"):
        PostgresBroker(5432)


async def test_applications_in_one_database(server: Server):
    """Another channel is another application."""
    one, other = (PostgresBroker(f"{server.url}?channel={name}") for name in ("Sh%C3%B6p+'x'", "other"))
    async with joined(one, "items"), joined(other, "items"):
        await other.publish("items", [b"theirs"])
        await one.publish("items", [b"ours"])
        assert await heard(one, 1) == [Message("items", b"ours")]
        async with administrator(server) as connection:
            await connection.execute("SELECT pg_notify('Shöp ''x''', '0:items:t:by hand')")
        assert await heard(one, 1) == [Message("items", b"by hand")]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
@pytest.mark.parametrize("driver", DRIVERS)
async def test_encodings(server: Server, driver: str, encoding: str):
    """Any payload goes through a database of any encoding."""
    async with administrator(server) as connection:
        options = f"ENCODING {encoding} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        await connection.execute("DROP DATABASE IF EXISTS other WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE other {options}")
    payloads = ["ü€😀".encode(), b"{}", b"\xff\0"]
    url = server.url.removesuffix("/postgres") + f"/other?driver={driver}"
    async with joined(PostgresBroker(url), "items") as broker:
        await broker.publish("items", payloads)
        assert await heard(broker, 3) == [Message("items", payload) for payload in payloads]


async def test_foreign_notifications(broker: Broker, server: Server):
    """Texts on the channel that are not ours are ignored."""
    async with administrator(server) as connection:
        for text in ("", "x", "0:items:z:1", "0:items:b:%%%", "0:items:b:a", "0:items:b:ü", ":::"):
            await connection.execute("SELECT pg_notify('entity_sync', $1)", text)
    await broker.publish("items", [b"ours"])
    assert await heard(broker, 1) == [Message("items", b"ours")]


@pytest.mark.parametrize("driver", DRIVERS)
async def test_options_of_postgresql(configured: ConfiguredServer, driver: str):
    """PostgreSQL's own options reach the driver as they are spelt, and a Unix socket is found by them."""
    directory = configured.owned("socket")
    configured.arguments = ("-c", f"unix_socket_directories={directory}")
    await configured.start()
    options = f"options=-c%20search_path%3Dx%2By&driver={driver}"
    spelt = str(directory).replace("/", "%2F")
    for url in (
        f"{configured.url}?{options}",
        f"postgresql://postgres@/postgres?host={directory}&port={configured.port}&{options}",
        f"postgres://postgres@{spelt}:{configured.port}/postgres?{options}",
    ):
        async with joined(broker_from(url), "items") as broker:
            await broker.publish("items", [b"1"])
            assert await heard(broker, 1) == [Message("items", b"1")]


@pytest.mark.parametrize("driver", DRIVERS)
async def test_reasons(server: Server, driver: str):
    """Why there is no connection is told, without the secret, whatever the driver says."""
    for rest, reason in {
        f"@127.0.0.1:{server.port}/nothing": 'database "nothing" does not exist',
        f"@127.0.0.1:{server.port}/s3cret": r'database "\*\*\*" does not exist',
        "@127.0.0.1:1/postgres": "refused|failed",
        f"@127.0.0.1:{server.port}/postgres?sslmode=require": "SSL",
        f"@127.0.0.1:{server.port}/postgres?sslmode=s3cret": r"Error|value: \"\*\*\*\"",
        f"@127.0.0.1:{server.port}/postgres?s3cret=%zz": "Error|parameter",
    }.items():
        mark = "&" if "?" in rest else "?"
        broker = PostgresBroker(f"postgresql://postgres:s3cret{rest}{mark}driver={driver}")
        with pytest.raises(BrokerUnavailable, match=reason) as error:
            await broker.connect()
        assert "s3cret" not in str(error.value)
        assert "127.0.0.1" in str(error.value)


@pytest.mark.parametrize(("driver", "extra"), [("asyncpg", "postgresql"), ("psycopg", "psycopg")])
def test_missing_driver(monkeypatch: pytest.MonkeyPatch, driver: str, extra: str):
    """A driver that is asked for and not installed is told at once, and the other taken if none is."""
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'entity-sync\[{extra}\]'"):
        PostgresBroker(f"postgresql://127.0.0.1:1/?driver={driver}")
    PostgresBroker("postgresql://127.0.0.1:1/")


@pytest.mark.parametrize(
    ("version", "is_refused"), [("3.2.3", True), ("3.2.4", False), ("3.3.0.dev1", False)]
)
async def test_psycopg_that_loses(monkeypatch: pytest.MonkeyPatch, version: str, is_refused: bool):
    """A psycopg that forgets what arrives while it asks is refused, by URL and as a pool."""
    monkeypatch.setattr("psycopg.__version__", version)
    for source in ("postgresql://127.0.0.1:1/?driver=psycopg", AsyncConnectionPool(open=False)):
        with pytest.raises(ConfigurationError, match=r"3\.2\.4") if is_refused else nullcontext():
            PostgresBroker(source)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_questions_lose_nothing(server: Server, driver: str, monkeypatch: pytest.MonkeyPatch):
    """What arrives while the session that listens is asked whether it lives is not forgotten."""
    monkeypatch.setattr("entity_sync.brokers.postgresql.session._PROBE", 0.001)
    numbers = [b"%d" % number for number in range(1_000)]
    other = PostgresBroker(server.url)
    async with joined(PostgresBroker(f"{server.url}?driver={driver}"), "items") as broker, joined(other):
        for number in numbers:
            await other.publish("items", [number])
        assert await heard(broker, 1_000) == [Message("items", number) for number in numbers]


async def test_without_asyncpg(server: Server, monkeypatch: pytest.MonkeyPatch):
    """Without asyncpg psycopg is taken."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    async with joined(PostgresBroker(server.url), "items") as broker:
        await broker.publish("items", [b"1"])
        assert await heard(broker, 1) == [Message("items", b"1")]


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


@given(st.text(max_size=200))
def test_any_text(text: str):
    """Whatever stands on the channel is a message or none, and no error."""
    read(text)
