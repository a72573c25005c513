"""A server in a process of its own, asked through a pipe what to do and what it used."""

from __future__ import annotations

import asyncio
import gc
import importlib
import multiprocessing
import os
import resource
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Self

from benchmarks.plan import Plan

__all__ = ["Duties", "Host", "Usage", "busy", "obey", "pin", "resident", "usage"]

_PATIENCE = 60.0  # seconds a server may take for an answer


class Usage(NamedTuple):
    """What a process has used.

    Attributes:
        cpu: seconds, user and system, all threads.
        resident: bytes of memory.
    """

    cpu: float
    resident: int


def usage() -> Usage:
    """Of this process, up to now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Usage(used.ru_utime + used.ru_stime, resident())


def resident() -> int:
    """Bytes of this process in memory, now."""
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        return pages * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024


def busy() -> float:
    """Seconds for which this machine's cores were not idle, or were taken away, since it started.

    Less what a benchmark's own processes used, it tells how much others disturbed it; 0 where
    the system does not say.
    """
    with suppress(OSError):
        fields = Path("/proc/stat").read_bytes().split(b"\n", 1)[0].split()[1:9]
        idle = int(fields[3]) + int(fields[4])
        return (sum(map(int, fields)) - idle) / os.sysconf("SC_CLK_TCK")
    return 0.0


def pin(core: int) -> None:
    """Keep this process on one core, where the system can do that and has several."""
    if hasattr(os, "sched_setaffinity"):
        with suppress(OSError):
            os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})


class Host:
    """The parent's side: a context in which the server runs.

    Attributes:
        port: where it listens.
    """

    def __init__(self, plan: Plan) -> None:
        """
        Args:
            plan: its ``serve`` runs in the child; the first thing that sends is its port, and a
                None received ends it.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, plan), daemon=True)
        self._process.start()
        theirs.close()
        self.port: int = self.answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):
            self._pipe.send(None)
        self._process.join(10.0)
        if self._process.is_alive():
            self._process.kill()
        self._pipe.close()

    def ask(self, what: str, *arguments: Any) -> Any:
        """Have the server do something and return what it says."""
        self.order(what, *arguments)
        return self.answer()

    def order(self, what: str, *arguments: Any) -> None:
        """Have the server do something, without waiting."""
        self._pipe.send((what, arguments))

    def answer(self) -> Any:
        """Wait for what the server says to the oldest order."""
        if not self._pipe.poll(_PATIENCE):
            raise RuntimeError("the server does not answer")
        return self._pipe.recv()

    @property
    def has_answered(self) -> bool:
        """Whether `answer` would return at once."""
        return self._pipe.poll(0)

    def usage(self) -> Usage:
        """What the server has used."""
        found: Usage = self.ask("usage")
        return found


def _serve(pipe: Connection, plan: Plan) -> None:
    if plan.source is not None:
        sys.path.insert(0, plan.source)
    module, _, function = plan.serve.partition(":")
    getattr(importlib.import_module(module), function)(pipe, plan)


class Duties:
    """The child's side: what every server can be asked; each kind adds its own."""

    async def usage(self) -> Usage:
        """`Host.usage`."""
        return usage()

    async def collect(self) -> Usage:
        """`Host.usage` after the garbage has been collected."""
        gc.collect()
        return usage()


async def obey(pipe: Connection, duties: Duties) -> None:
    """Do what the parent orders, one after the other, until it orders None."""
    orders: asyncio.Queue[tuple[str, tuple[Any, ...]] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_reader(pipe.fileno(), lambda: orders.put_nowait(pipe.recv()))
    while (order := await orders.get()) is not None:
        what, arguments = order
        pipe.send(await getattr(duties, what)(*arguments))
    loop.remove_reader(pipe.fileno())
