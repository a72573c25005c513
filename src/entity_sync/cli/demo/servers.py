"""Broker servers for a demonstration: found on this machine, started empty, gone afterwards."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from entity_sync.errors import ConfigurationError

__all__ = ["SCHEMES", "Running", "serving"]

_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class _Launch:
    """A command, the URL it will serve, and a greeting with what a server that is ready answers."""

    command: list[str]
    url: str
    greeting: tuple[bytes, bytes]
    stdin: bytes = b""
    user: int | None = None
    group: int | None = None


@dataclass(frozen=True, slots=True)
class _Program:
    """A server program.

    Attributes:
        places: glob patterns below / where it may be although the PATH does not name them.
        install: how to get it.
        launch: makes the launch of its path, a free port and an empty folder.
    """

    name: str
    places: tuple[str, ...]
    install: str
    launch: Callable[[str, int, Path], _Launch]


@dataclass(frozen=True, slots=True)
class Running:
    """A server that accepts connections.

    Attributes:
        program: its name.
        url: what nodes connect to; it may hold a password, which is as short-lived as the server.
        process: the server's.
    """

    program: str
    url: str
    process: asyncio.subprocess.Process


@asynccontextmanager
async def serving(scheme: str) -> AsyncGenerator[Running]:
    """Start the server of a scheme on a free port of the loopback interface, and stop it at the end.

    Args:
        scheme: one of `SCHEMES`.

    Raises:
        ConfigurationError: its program is not installed, or did not start.
    """
    program = _PROGRAMS[scheme]
    path = _find(program)
    with TemporaryDirectory(prefix="entity-sync-broker-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        launch = await asyncio.to_thread(program.launch, path, _free_port(), folder)
        process = await _start(launch, folder)
        try:
            if not await _is_ready(process, launch):
                raise ConfigurationError(f"{program.name} did not start:\n{_end_of_log(folder)}")
            yield Running(program.name, launch.url, process)
        finally:
            await _stop(process)


async def _start(launch: _Launch, folder: Path) -> asyncio.subprocess.Process:
    with _log(folder).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *launch.command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=folder,
            process_group=0,  # Ctrl-C is for us: nodes are to stop before their broker does
            user=launch.user,
            group=launch.group,
            extra_groups=None if launch.user is None else [],
        )
    assert process.stdin is not None
    process.stdin.write(launch.stdin)
    process.stdin.close()
    return process


def _log(folder: Path) -> Path:
    return folder / "server.log"


def _end_of_log(folder: Path) -> str:
    return _log(folder).read_text(errors="replace")[-1_000:]


async def _is_ready(process: asyncio.subprocess.Process, launch: _Launch) -> bool:
    port = int(launch.url.rpartition(":")[2].partition("/")[0])
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            while process.returncode is None:
                if await _answers(port, *launch.greeting):
                    return True
                await asyncio.sleep(0.02)
    return False


async def _answers(port: int, question: bytes, answer: bytes) -> bool:
    with suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(question)
            return answer in await reader.read(1_024)
        finally:
            writer.close()
    return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)  # for postgres the fast stop, for the others the usual one
    try:
        async with asyncio.timeout(5.0):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _find(program: _Program) -> str:
    found = shutil.which(program.name)
    if found is not None:
        return found
    for pattern in program.places:
        for path in sorted(Path("/").glob(pattern), reverse=True):
            return str(path)
    raise ConfigurationError(
        f"{program.name} is not installed: {program.install}. "
        "Or name a broker that runs already: --broker URL"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# The programs


def _nsqd(path: str, port: int, folder: Path) -> _Launch:
    return _Launch(
        [path, f"--tcp-address=127.0.0.1:{port}", "--http-address=127.0.0.1:0", f"--data-path={folder}"],
        f"nsq://127.0.0.1:{port}",
        (b"  V2IDENTIFY\n\0\0\0\2{}", b"OK"),
    )


def _nats(path: str, port: int, _folder: Path) -> _Launch:
    return _Launch(
        [path, "--addr", "127.0.0.1", "--port", str(port)], f"nats://127.0.0.1:{port}", (b"", b"INFO ")
    )


def _redis(path: str, port: int, folder: Path) -> _Launch:
    # With a password, in a configuration that no process list shows: whoever commands a Redis can
    # make it write files.
    password = secrets.token_hex(8)
    lines = [f"requirepass {password}", f"port {port}", "bind 127.0.0.1", 'save ""', f"dir {folder}"]
    return _Launch(
        [path, "-"],
        f"redis://:{password}@127.0.0.1:{port}",
        (f"AUTH {password}\r\n".encode(), b"+OK"),
        stdin="\n".join(lines).encode(),
    )


def _postgres(path: str, port: int, folder: Path) -> _Launch:
    user, group = _somebody()
    data, password = folder / "data", secrets.token_hex(8)
    secret = folder / "password"
    secret.write_text(password)
    if user is not None and group is not None:
        os.chown(folder, user, group)
        os.chown(secret, user, group)
    initdb = [
        str(Path(path).resolve().with_name("initdb")), "-D", str(data), "-U", "demo", "-A", "scram-sha-256",
        f"--pwfile={secret}", "--no-sync", "-E", "UTF8",
    ]  # fmt: skip
    done = subprocess.run(  # noqa: S603 - of the installation that postgres itself is of
        initdb, capture_output=True, cwd=folder, check=False, user=user, group=group
    )
    if done.returncode != 0:
        raise ConfigurationError(f"initdb failed: {done.stderr.decode(errors='replace')[-1_000:]}")
    settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "shared_buffers=16MB")
    startup = b"user\0demo\0database\0postgres\0\0"
    return _Launch(
        [path, "-D", str(data), "-p", str(port), *(part for each in settings for part in ("-c", each))],
        f"postgresql://demo:{password}@127.0.0.1:{port}/postgres",
        ((len(startup) + 8).to_bytes(4, "big") + b"\0\3\0\0" + startup, b"SCRAM"),
        user=user,
        group=group,
    )


def _somebody() -> tuple[int | None, int | None]:
    """Who runs postgres, which refuses root."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return None, None
    import pwd

    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known["nobody"]
    return entry.pw_uid, entry.pw_gid


_POSTGRES = _Program(
    "postgres",
    ("usr/lib/postgresql/*/bin/postgres", "usr/pgsql-*/bin/postgres"),
    "apt-get install postgresql, or brew install postgresql",
    _postgres,
)
_PROGRAMS = {
    "nsq": _Program(
        "nsqd",
        (str(Path.home() / "go/bin/nsqd").removeprefix("/"),),
        "brew install nsq, or nsq.io/deployment/installing.html, or make system in a checkout of Entity Sync",
        _nsqd,
    ),
    "nats": _Program("nats-server", ("usr/sbin/nats-server",), "apt-get or brew install nats-server", _nats),
    "redis": _Program("redis-server", (), "apt-get install redis-server, or brew install redis", _redis),
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
}
SCHEMES = tuple(_PROGRAMS)
