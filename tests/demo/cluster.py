"""The demo's command on several nodes, for tests: started, watched by clients, stopped."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entity_sync.client import Client, connect

__all__ = ["PATIENCE", "Demo", "Tab", "demo", "tabs"]

PATIENCE = 30.0


@dataclass
class Demo:
    """A running command.

    Attributes:
        said: its standard output until the pages could be opened.
        database: the SQLite file.
    """

    process: asyncio.subprocess.Process
    said: list[str]
    database: Path

    @property
    def sockets(self) -> list[str]:
        pages = re.findall(r"http://(\S+)/", "\n".join(self.said))
        return [f"ws://{place}/ws/entity-sync/" for place in pages]

    @property
    def notify_command(self) -> list[str]:
        """As it is pasted."""
        return shlex.split(next(line for line in self.said if " notify --broker" in line))

    async def stop(self, number: signal.Signals = signal.SIGINT) -> str:
        """Return its log."""
        self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            _, errors = await self.process.communicate()
        return errors.decode()


@asynccontextmanager
async def demo(database: Path, *arguments: str) -> AsyncIterator[Demo]:
    command = [sys.executable, "-m", "entity_sync", "demo", "--port", "0", "--database", str(database)]
    process = await asyncio.create_subprocess_exec(
        *command, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    said: list[str] = []
    try:
        async with asyncio.timeout(PATIENCE):
            while not said or "Ctrl-C stops" not in said[-1]:
                line = (await process.stdout.readline()).decode().rstrip()
                if not line:
                    raise AssertionError((await process.communicate())[1].decode())
                said.append(line)
        yield Demo(process, said, database)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


class Tab:
    """A client that shows order 3, as a page does."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._states = aiter(client.subscribe("orders", "3"))

    async def until(self, **fields: Any) -> None:
        """Wait for a state with these values."""
        async with asyncio.timeout(PATIENCE):
            async for state in self._states:
                if state.rows and state.rows[0].data.items() >= fields.items():
                    return


@asynccontextmanager
async def tabs(sockets: list[str]) -> AsyncIterator[list[Tab]]:
    """One client for each node, all showing the row as it is."""
    async with AsyncExitStack() as stack:
        found = [Tab(await stack.enter_async_context(connect(url))) for url in sockets]
        for tab in found:
            await tab.until(quantity=3)
        yield found
