"""Every fault on every broker, as often as wished, each time with another seed."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.cell import KINDS, Outcome, endure
from tests.faults.faults import Fault
from tests.support.servers import SERVERS, Server

__all__ = ["Cell", "matrix"]


@dataclass
class Cell:
    """What came of the runs of one fault on one broker."""

    name: str
    fault: Fault
    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def healed(self) -> float:
        """The longest time from the end of the fault until all was true."""
        return max((outcome.healed for outcome in self.outcomes), default=float("inf"))

    def __str__(self) -> str:
        return f"**{len(self.failures)} failed**" if self.failures else f"{self.healed:.1f} s"


async def matrix(
    names: Sequence[str], faults: Sequence[Fault], runs: int, seed: int, told: Callable[[Cell], None]
) -> list[Cell]:
    """
    Args:
        names: of `KINDS`.
        told: called with each cell when it is complete.
    """
    cells: list[Cell] = []
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        for name in names:
            place = Path(directory, name)
            place.mkdir()
            server = SERVERS[KINDS[name].scheme](place)
            stack.push_async_callback(server.stop)
            for fault in (fault for fault in faults if name not in fault.spares):
                cells.append(Cell(name, fault))
                for run in range(runs):
                    await _run(server, cells[-1], seed + run)
                told(cells[-1])
    return cells


async def _run(server: Server, cell: Cell, seed: int) -> None:
    if not server.is_running:
        await server.start()
    before = asyncio.all_tasks()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        try:
            cell.outcomes.append(await endure(cell.name, server, cell.fault, seed))
            deadline = time.monotonic() + 2.0
            while left := asyncio.all_tasks() - before:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{cell.fault.name} on {cell.name}, seed {seed}: left {left}")
                await asyncio.sleep(0.01)
            gc.collect()
            if caught:
                raise AssertionError(f"{cell.fault.name} on {cell.name}, seed {seed}: {caught[0].message}")
        except AssertionError as error:
            cell.failures.append(str(error))
