"""Real brokers for tests: started, frozen, killed and started again on the same loopback port."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import ClassVar

from tests.support.ports import HeldPort
from tests.support.system_programs import find

__all__ = ["SERVERS", "Server", "running"]

_PATIENCE = 20.0


class Server(ABC):
    """One broker process.

    Attributes:
        port: where it listens, the same after every start.
        url: how Entity Sync names it.
    """

    program: ClassVar[str]
    url: str

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._held = HeldPort()
        self.port = self._held.number
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """What to run."""

    @abstractmethod
    def greeting(self) -> tuple[bytes, bytes]:
        """What to say to it, and what a server that is ready answers."""

    async def start(self) -> None:
        """Start it, and return once it answers; one that cannot start does not run."""
        assert self._process is None, "it runs already"
        user, group = self._identity()
        with Path(self.directory, f"{self.program}.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                user=user,
                group=group,
            )
        try:
            async with asyncio.timeout(_PATIENCE):
                while not await self._answers():
                    if self._process.poll() is not None:
                        raise AssertionError(f"{self.program} ended: {self.log()[-2_000:]}")
                    await asyncio.sleep(0.01)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL, as a machine that loses power."""
        self._signal(signal.SIGKILL)
        self._reap()

    def terminate(self) -> None:
        """SIGTERM, and wait for its end."""
        self._signal(signal.SIGTERM)
        self._reap()

    async def disconnect_clients(self) -> None:
        """Have it end its clients' connections; by default it is started anew."""
        self.terminate()
        await self.start()

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._process is not None

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open, and nothing answers from here on."""
        self._signal(signal.SIGSTOP)
        assert self._process is not None
        os.waitpid(self._process.pid, os.WUNTRACED)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    async def stop(self) -> None:
        """End it for good, in whatever state it is; harmless when it does not run."""
        if self._process is not None:
            self.kill()
        self._held.close()

    def log(self) -> str:
        """What it printed."""
        return Path(self.directory, f"{self.program}.log").read_text(errors="replace")

    def _identity(self) -> tuple[int | None, int | None]:
        return None, None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait()
        self._process = None

    async def _answers(self) -> bool:
        question, answer = self.greeting()
        try:
            async with asyncio.timeout(1.0):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(question)
                    return answer in await reader.read(4_096)
                finally:
                    writer.close()
                    await writer.wait_closed()
        except (OSError, TimeoutError):
            return False


class Nsqd(Server):
    """nsqd 1.3, without a lookup service."""

    program = "nsqd"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.url = f"nsq://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [
            _program("nsqd"), f"--tcp-address=127.0.0.1:{self.port}", "--http-address=127.0.0.1:0",
            f"--data-path={self.directory}",
        ]  # fmt: skip

    def greeting(self) -> tuple[bytes, bytes]:
        return b"  V2PUB probe.transient#\n\0\0\0\1x", b"E_BAD_TOPIC"


class NatsServer(Server):
    """A single NATS server without JetStream."""

    program = "nats-server"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.url = f"nats://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [_program("nats-server"), "--addr", "127.0.0.1", "--port", str(self.port)]

    def greeting(self) -> tuple[bytes, bytes]:
        return b"", b"INFO "


class RedisServer(Server):
    """Redis without a disk."""

    program = "redis-server"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.url = f"redis://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [
            _program("redis-server"), "--bind", "127.0.0.1", "--port", str(self.port), "--save", "",
            "--appendonly", "no", "--dir", str(self.directory),
        ]  # fmt: skip

    def greeting(self) -> tuple[bytes, bytes]:
        return b"PING\r\n", b"+PONG"

    async def disconnect_clients(self) -> None:
        await _say(self.port, b"CLIENT KILL TYPE pubsub\r\nCLIENT KILL TYPE normal\r\nQUIT\r\n")


class PostgresServer(Server):
    """A PostgreSQL cluster of its own, which refuses to run as root."""

    program = "postgres"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        # Not inside `directory`: another user has to reach it.
        self._home = Path(tempfile.mkdtemp(prefix="entity-sync-postgres-"))

    def command(self) -> list[str]:
        data = self._home / "data"
        if not data.exists():
            self._initialize(data)
        return [
            _program("postgres"), "-D", str(data), "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
            "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=200",
        ]  # fmt: skip

    def greeting(self) -> tuple[bytes, bytes]:
        user = b"user\0postgres\0database\0postgres\0\0"
        return (len(user) + 8).to_bytes(4, "big") + b"\0\3\0\0" + user, b"server_version"

    async def disconnect_clients(self) -> None:
        import asyncpg

        connection = await asyncpg.connect(self.url)
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        await connection.execute(f"{others} AND backend_type = 'client backend'")
        await connection.close()

    def terminate(self) -> None:
        """SIGINT: it ends its clients' connections instead of waiting for them."""
        self._signal(signal.SIGINT)
        self._reap()

    def kill(self) -> None:
        """SIGKILL to all of it: its backends would outlive the first process by a while."""
        assert self._process is not None
        children = _children(self._process.pid)
        self._signal(signal.SIGKILL)
        for child in children:
            _kill(child, signal.SIGKILL)
        self._reap()
        (self._home / "data" / "postmaster.pid").unlink(missing_ok=True)

    def freeze(self) -> None:
        """SIGSTOP to all of it: each connection is a process."""
        super().freeze()
        assert self._process is not None
        for child in _children(self._process.pid):
            _kill(child, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT to all of it."""
        assert self._process is not None
        for child in _children(self._process.pid):
            _kill(child, signal.SIGCONT)
        self._signal(signal.SIGCONT)

    async def stop(self) -> None:
        await super().stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def _initialize(self, data: Path) -> None:
        user, group = self._identity()
        if user is not None and group is not None:
            os.chown(self._home, user, group)
        initdb = Path(_program("postgres")).resolve().with_name("initdb")
        command = [str(initdb), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"]
        done = subprocess.run(command, capture_output=True, cwd="/", check=False, user=user, group=group)
        assert done.returncode == 0, done.stderr.decode()

    def _identity(self) -> tuple[int | None, int | None]:
        if os.geteuid() != 0:
            return None, None
        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        entry = known.get("postgres") or known["nobody"]
        return entry.pw_uid, entry.pw_gid


SERVERS: dict[str, type[Server]] = {
    "nsq": Nsqd,
    "nats": NatsServer,
    "redis": RedisServer,
    "postgresql": PostgresServer,
}
"""URL scheme → its server."""


@asynccontextmanager
async def running(scheme: str, directory: Path) -> AsyncGenerator[Server, None]:
    """One started server of a scheme, stopped at the end."""
    server = SERVERS[scheme](directory)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


async def _say(port: int, text: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    await reader.read()
    writer.close()
    await writer.wait_closed()


def _program(name: str) -> str:
    path = find(name)
    assert path is not None, f"{name} is not installed: mark the test with needs({name!r})"
    return path


def _children(parent: int) -> list[int]:
    with suppress(FileNotFoundError):  # when it has ended
        text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        return [int(pid) for pid in text.split()]
    return []


def _kill(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
