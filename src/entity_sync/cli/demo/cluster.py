"""Several nodes of the demo as processes over one database, joined by a broker and nothing else."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from entity_sync.app import EntitySync
from entity_sync.cli.demo.node import Assignment
from entity_sync.cli.demo.servers import serving
from entity_sync.cli.demo.shop import Shop
from entity_sync.errors import ConfigurationError
from entity_sync.server.standalone import end_signals

__all__ = ["Cluster", "Started", "run"]

_MAX_LINE = 1 << 20  # bytes of a node's log
_PATIENCE = 15.0  # seconds a node may take to stop: more than its drain does


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What is to run.

    Attributes:
        nodes: how many.
        broker: the URL of one that runs, or a scheme of `servers.SCHEMES`, whose server is started.
        topic_prefix: begins every topic.
        port: of the first node, the others follow; 0 for any that are free.
        database: the SQLite file; None for a new one that is removed at the end.
    """

    nodes: int
    broker: str
    topic_prefix: str = ""
    host: str = "127.0.0.1"
    port: int = 8080
    database: Path | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """What runs.

    Attributes:
        pages: the URL of each node's page.
        broker: the broker's URL.
        server: the server program that was started for it, if one was.
        database: the SQLite file.
    """

    pages: Sequence[str]
    broker: str
    server: str | None
    database: Path


class _Node:
    """One process, from its start to its end."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, assignment: Assignment) -> None:
        self.number = number
        self.process = process
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(assignment) + b"\n")

    async def page(self) -> str:
        """Its page's URL, once it serves that.

        Raises:
            ConfigurationError: it ended instead; its log tells why.
        """
        assert self.process.stdout is not None
        url = (await self.process.stdout.readline()).decode().strip()
        if not url:
            raise ConfigurationError(f"node {self.number} did not start; its last lines above say why")
        return url

    async def relay(self, on_line: Callable[[int, str], object]) -> None:
        """Pass on what it logs, until it ends."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            on_line(self.number, line.decode(errors="replace").rstrip())

    async def stop(self) -> None:
        """End its life line, and it itself where that does not help."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.process.wait()
        except TimeoutError:
            _kill(self.process)
            await self.process.wait()


def run(
    cluster: Cluster, *, on_ready: Callable[[Started], object], on_line: Callable[[int, str], object]
) -> None:
    """Run a cluster until SIGTERM, SIGINT or SIGHUP; a second signal kills what has not stopped.

    Args:
        cluster: what to run.
        on_ready: called once every page can be opened.
        on_line: called with each line to show, and the number of the node that says it, from 1 on; 0
            is the broker's server.

    Raises:
        ConfigurationError: the server or a node cannot start, or all nodes ended by themselves.
    """
    asyncio.run(_supervise(cluster, on_ready, on_line))


async def _supervise(
    cluster: Cluster, on_ready: Callable[[Started], object], on_line: Callable[[int, str], object]
) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    processes: list[asyncio.subprocess.Process] = []

    def ask() -> None:
        if task.cancelling() == 0:
            task.cancel()
        else:
            for process in processes:
                _kill(process)

    for number in end_signals():
        with suppress(NotImplementedError):  # on Windows asyncio itself turns Ctrl-C into a cancellation
            loop.add_signal_handler(number, ask)
    _check(cluster)
    with suppress(asyncio.CancelledError):
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(TemporaryDirectory(prefix="entity-sync-demo-"))
            database = (cluster.database or Path(folder, "bakery.sqlite3")).absolute()
            Shop(database)
            broker, server = cluster.broker, None
            if "://" not in broker:
                running = await stack.enter_async_context(serving(broker))
                processes.append(running.process)
                broker, server = running.url, running.program
                watch = loop.create_task(_watch(0, server, running.process, on_line))
                stack.callback(watch.cancel)
            nodes = await stack.enter_async_context(_nodes(cluster, broker, database, processes, on_line))
            pages = await asyncio.gather(*(node.page() for node in nodes))
            on_ready(Started(pages, broker, server, database))
            await asyncio.gather(*(_watch(node.number, "it", node.process, on_line) for node in nodes))
            raise ConfigurationError("all nodes ended")


def _check(cluster: Cluster) -> None:
    """Raise what every node would, while it can still be told once: a wrong URL, a missing library."""
    url = cluster.broker if "://" in cluster.broker else f"{cluster.broker}://127.0.0.1"
    EntitySync(url, topic_prefix=cluster.topic_prefix)


@asynccontextmanager
async def _nodes(
    cluster: Cluster,
    broker: str,
    database: Path,
    processes: list[asyncio.subprocess.Process],
    on_line: Callable[[int, str], object],
) -> AsyncGenerator[list[_Node]]:
    nodes: list[_Node] = []
    relays: list[asyncio.Task[None]] = []
    try:
        for number in range(1, cluster.nodes + 1):
            assignment = Assignment(
                name=f"node {number} of {cluster.nodes}",
                broker=broker,
                topic_prefix=cluster.topic_prefix,
                database=str(database),
                host=cluster.host,
                port=cluster.port + number - 1 if cluster.port else 0,
            )
            process = await _start_node()
            processes.append(process)
            nodes.append(_Node(number, process, assignment))
            relays.append(asyncio.create_task(nodes[-1].relay(on_line)))
        yield nodes
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))
        await asyncio.gather(*relays)


async def _start_node() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "entity_sync.cli.demo.node",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        limit=_MAX_LINE,
        process_group=0,  # Ctrl-C is for us alone: everything stops in its order
    )


async def _watch(
    number: int, name: str, process: asyncio.subprocess.Process, on_line: Callable[[int, str], object]
) -> None:
    code = await process.wait()
    on_line(number, f"{name} ended by itself, with exit code {code}")


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
