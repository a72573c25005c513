"""Several nodes of the demo on real brokers, by the one command that the README shows."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from entity_sync.client import connect
from tests.demo.cluster import PATIENCE, demo, tabs
from tests.support.servers import running

PROGRAMS = {"nsq": "nsqd", "nats": "nats-server", "redis": "redis-server", "postgresql": "postgres"}
EVERY_BROKER = [
    pytest.param(scheme, marks=pytest.mark.needs(name), id=scheme) for scheme, name in PROGRAMS.items()
]


def descendants(pid: int) -> dict[int, str]:
    """The processes that a process started, directly or not: command by id."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, check=True, text=True
    )
    rows = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    family, found = {pid}, dict[int, str]()
    while (
        new := {int(own): args for own, parent, args in rows if int(parent) in family}.keys() - found.keys()
    ):
        family = set(new)
        found |= {int(own): args for own, _, args in rows if int(own) in new}
    return found


def is_running(pid: int) -> bool:
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False, text=True)
    return shown.stdout.strip()[:1] not in ("", "Z")


@pytest.mark.parametrize("scheme", EVERY_BROKER)
async def test_edit_reaches_every_node(tmp_path: Path, scheme: str):
    """One command starts the broker and three nodes; an edit through any reaches the clients of all."""
    async with demo(tmp_path / "bakery.sqlite3", "--nodes", "3", "--broker", scheme) as cluster:
        assert f"{PROGRAMS[scheme]} runs" in cluster.said[0]
        assert len(set(cluster.sockets)) == 3
        async with tabs(cluster.sockets) as shown:
            for quantity, tab in enumerate(shown, 40):
                edit = {"edit": {"id": 3, "field": "quantity", "value": quantity}}
                assert await tab.client.message(edit) == {"ok": True}
                for each in shown:
                    await each.until(quantity=quantity)


@pytest.mark.parametrize("scheme", EVERY_BROKER)
async def test_notify_reaches_every_node(tmp_path: Path, scheme: str):
    """A change by another program is shown by all nodes after the command that the demo prints."""
    async with (
        demo(tmp_path / "bakery.sqlite3", "--nodes", "2", "--broker", scheme) as cluster,
        tabs(cluster.sockets) as shown,
    ):
        with closing(sqlite3.connect(cluster.database)) as connection, connection:
            connection.execute("UPDATE orders SET note = 'from outside' WHERE id = 3")
        notify = await asyncio.create_subprocess_exec(*cluster.notify_command)
        assert await notify.wait() == 0
        for tab in shown:
            await tab.until(note="from outside")


@pytest.mark.needs("nsqd")
async def test_rights_and_lists_reach_every_node(tmp_path: Path):
    """A new order is in its lane, and a shared recipe at whom it is shared with, whatever their nodes are."""
    async with demo(tmp_path / "bakery.sqlite3", "--nodes", "3", "--broker", "nsq") as cluster:
        first, second, third = cluster.sockets
        async with (
            connect(first, secret="nadia@north") as nadia,
            connect(second, secret="sami@south") as sami,
            connect(third) as guest,
        ):
            recipe, lane = sami.subscribe("recipes", "1"), guest.subscribe("board", "ordered")
            assert (await recipe.next()).is_denied
            assert len((await lane.next()).rows) == 2
            async with asyncio.timeout(PATIENCE):
                assert await nadia.message({"share": {"id": 1, "is_shared": True}}) == {"ok": True}
                while not recipe.state.data:
                    await recipe.next()
                assert await nadia.message({"share": {"id": 1, "is_shared": False}}) == {"ok": True}
                while not recipe.state.is_denied:
                    await recipe.next()
                order = {"customer": "Cora", "item": "Plum cake", "quantity": 2}
                assert await sami.message({"add": order}) == {"ok": True}
                while len(lane.state.rows) != 3:
                    await lane.next()
            assert [row.data["customer"] for row in lane.state.rows] == ["Chiara", "Cora", "Farid"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("scheme", EVERY_BROKER)
async def test_leaves_nothing_behind(tmp_path: Path, scheme: str, number: signal.Signals):
    """Ctrl-C and SIGTERM end the nodes in order and then the broker, with exit code 0."""
    async with demo(tmp_path / "bakery.sqlite3", "--nodes", "2", "--broker", scheme) as cluster:
        started = descendants(cluster.process.pid)
        assert any(PROGRAMS[scheme] in args for args in started.values())
        log = await cluster.stop(number)
        assert cluster.process.returncode == 0
        assert [args for pid, args in started.items() if is_running(pid)] == []
        for node in ("node 1", "node 2"):
            assert re.search(rf"^{node} │ .* stopped serving", log, re.MULTILINE)
        assert "ended by itself" not in log
        assert "Traceback" not in log


@pytest.mark.needs("nsqd")
async def test_broker_that_runs_already(tmp_path: Path):
    """`--broker URL` uses it and leaves it running, for several nodes and for one in each of two commands."""
    async with running("nsq", tmp_path) as server:
        arguments = ("--broker", server.url, "--topic-prefix", "shop.")
        database = tmp_path / "bakery.sqlite3"
        async with (
            demo(database, *arguments) as first,
            demo(database, *arguments) as second,
            demo(database, *arguments, "--nodes", "2") as others,
            tabs([*first.sockets, *second.sockets, *others.sockets]) as shown,
        ):
            edit = {"edit": {"id": 3, "field": "status", "value": "sold"}}
            assert await shown[0].client.message(edit) == {"ok": True}
            for tab in shown:
                await tab.until(status="sold")
            assert "--topic-prefix shop." in " ".join(first.notify_command)
        async with demo(database, *arguments) as again:
            assert len(again.sockets) == 1


@pytest.mark.needs("nsqd")
async def test_nodes_end_with_the_command(tmp_path: Path):
    """Nodes whose command was killed end by themselves."""
    async with running("nsq", tmp_path) as server:
        arguments = ("--broker", server.url, "--nodes", "2")
        async with demo(tmp_path / "bakery.sqlite3", *arguments) as cluster:
            nodes = descendants(cluster.process.pid)
            assert len(nodes) == 2
            cluster.process.kill()
            await cluster.process.communicate()
            async with asyncio.timeout(PATIENCE):
                while any(map(is_running, nodes)):
                    await asyncio.sleep(0.05)


@pytest.mark.needs("nsqd")
async def test_node_that_ends_is_told(tmp_path: Path):
    """A node that dies is named; the command ends with an error when it was the last one."""
    async with demo(tmp_path / "bakery.sqlite3", "--nodes", "2", "--broker", "nsq") as cluster:
        nodes = [pid for pid, args in descendants(cluster.process.pid).items() if "demo.node" in args]
        for pid in nodes:
            os.kill(pid, signal.SIGKILL)
        _, errors = await cluster.process.communicate()
        assert cluster.process.returncode == 1
        for number in (1, 2):
            assert f"node {number} │ it ended by itself, with exit code -9" in errors.decode()
        assert errors.decode().endswith("Error: all nodes ended\n")


@pytest.mark.needs("nsqd")
async def test_port_that_is_taken(tmp_path: Path):
    """A node that cannot start ends all of it, with its own words in the log."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        arguments = ("--nodes", "2", "--broker", "nsq", "--port", str(port))
        with pytest.raises(AssertionError) as failed:
            async with demo(tmp_path / "bakery.sqlite3", *arguments):
                pass
    said = str(failed.value)
    ended = re.search(
        r"^Error: node ([12]) did not start; its last lines above say why\n\Z", said, re.MULTILINE
    )
    assert ended, said
    number = int(ended[1])  # 2 where some other program holds the port after ours
    assert f"node {number} │ Error: cannot listen on 127.0.0.1 port {port + number - 1}" in said
