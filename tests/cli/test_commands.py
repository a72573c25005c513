"""The commands, as a person or a script runs them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from entity_sync import EntitySync
from entity_sync.cli import main
from entity_sync.server.standalone import Listener, listen

APPLICATION = """
from entity_sync import EntitySync
sync = EntitySync("memory://{name}")
text = "not an application"

@sync.entity("items")
async def item(id: int):
    return {{"id": id}}
"""


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environment)


def start(*arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "entity_sync", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, text=True, cwd=cwd, stdout=pipe, stderr=pipe)


@pytest.fixture
def application(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APPLICATION.format(name=tmp_path.name))
    return tmp_path


@pytest.fixture
def served(application: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with start("serve", "shop:sync", "--port", "0", cwd=application) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield process, next(word for word in line.split() if word.startswith("ws://"))
        process.kill()


@pytest.mark.parametrize("command", [(), ("serve",), ("demo",), ("watch",), ("notify",)])
def test_help(command: tuple[str, ...]):
    """Every command explains itself, with examples."""
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert not command or "Example" in result.output


def test_version():
    """--version names the program and its version."""
    assert run("--version").output.startswith("entity-sync, version ")


def test_serve_and_stop(served: tuple[subprocess.Popen[str], str]):
    """`serve` says where it listens, and SIGTERM ends it in order."""
    process, url = served
    assert url.endswith("/ws/entity-sync/")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "stopped serving" in errors


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("shop", "is not MODULE:NAME"),
        ("nowhere:sync", "no module 'nowhere'"),
        ("shop:nothing", "has no 'nothing'"),
        ("shop:text", "is a str, not an EntitySync"),
    ],
)
def test_serve_names_the_mistake(application: Path, target: str, error: str):
    """A wrong target is one line that says what is wrong, and exit code 1."""
    with start("serve", target, cwd=application) as process:
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (1, "")
    assert error in errors
    assert "Traceback" not in errors


def test_serve_says_when_the_port_is_taken(served: tuple[subprocess.Popen[str], str], tmp_path: Path):
    """A port in use is an error that names it."""
    port = served[1].split(":")[2].split("/")[0]
    (tmp_path / "other.py").write_text(APPLICATION.format(name="other"))
    with start("serve", "other:sync", "--port", port, cwd=tmp_path) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"port {port}" in errors


@pytest.fixture
async def listener() -> AsyncIterator[tuple[EntitySync, Listener]]:
    sync = EntitySync()

    @sync.entity("own")
    async def own(id: str, secret: str) -> dict[str, str | int]:
        return {"secret": secret}

    async with listen(sync) as listener:
        yield sync, listener


async def lines(process: asyncio.subprocess.Process, count: int) -> list[str]:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return [(await process.stdout.readline()).decode() for _ in range(count)]


async def watch(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "entity_sync", "watch", *arguments)
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, **environment}
    return await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=environment)


async def test_watch_shows_a_row(listener: tuple[EntitySync, Listener]):
    """`watch --json` writes a JSON line for each state, with the secret from the environment."""
    process = await watch(listener[1].url, "own", "7", "--json", ENTITY_SYNC_SECRET="ann")
    [line] = await lines(process, 1)
    assert json.loads(line)["event"] == "snapshot"
    assert json.loads(line)["data"] == [{"secret": "ann"}]
    process.send_signal(signal.SIGTERM)
    output, errors = await process.communicate()
    assert json.loads(output)["event"] == "goodbye"
    assert (process.returncode, errors) == (0, b"")


async def test_watch_is_plain_in_a_pipe(listener: tuple[EntitySync, Listener]):
    """Without a terminal there are no colours."""
    process = await watch(listener[1].url, "own", "7")
    [line] = await lines(process, 1)
    assert "snapshot" in line
    assert "\x1b" not in line
    process.kill()
    await process.communicate()


async def test_watch_classic(listener: tuple[EntitySync, Listener]):
    """`watch --classic` shows what the classic wire pushes, row by row."""
    sync, place = listener
    process = await watch(place.url, "own", "7", "--classic", "--json", ENTITY_SYNC_SECRET="bob")
    await lines(process, 1)
    async with asyncio.timeout(20):
        while not sync.node.hub.views:
            await asyncio.sleep(0)
    await sync.notify("own", "7")
    [line] = await lines(process, 1)
    assert json.loads(line)["data"] == '{"secret":"bob"}'
    process.kill()
    await process.communicate()


async def test_watch_names_the_refusal(listener: tuple[EntitySync, Listener]):
    """An entity that does not exist is one line, and exit code 1."""
    process = await watch(listener[1].url, "nothing", "7")
    output, errors = await process.communicate()
    assert (process.returncode, output) == (1, b"")
    assert b"unknown_entity" in errors


def test_notify_refuses_memory():
    """`notify` cannot reach another process through memory, and says so."""
    result = run("notify", "--broker", "memory://", "orders", "7")
    assert result.exit_code == 1
    assert "memory:// joins the nodes of one process" in result.output


def test_notify_unknown_broker():
    """An unknown scheme is an error that names the known ones."""
    result = run("notify", "orders", "7", ENTITY_SYNC_BROKER="carrier-pigeon://loft")
    assert result.exit_code == 1
    assert "known: memory" in result.output


def test_secret_is_no_argument():
    """There is no option that would put a secret into the process list."""
    assert run("watch", "ws://127.0.0.1:1/", "orders", "7", "--secret", "x").exit_code == 2
