"""A server in a process of its own, asked through a pipe what to do and what it used."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Self

__all__ = ["Host", "Usage", "pin", "resident", "usage"]

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


def pin(core: int) -> None:
    """Keep this process on one core, where there are several."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0) if core == 0 else range(os.cpu_count() or 1))
        with suppress(OSError):
            os.sched_setaffinity(0, {cores[core % len(cores)]})


class Host:
    """The parent's side: a context in which the server runs.

    Attributes:
        port: where it listens.
    """

    def __init__(self, serve: Callable[[Connection, Any], None], plan: object) -> None:
        """
        Args:
            serve: runs in the child with the other end of the pipe and ``plan``; the first thing
                it sends is its port, and a None received ends it.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, plan), daemon=True)
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


class Duties:
    """The child's side: what every server can be asked; each kind adds its own."""

    async def usage(self) -> Usage:
        """`Host.usage`."""
        return usage()

    async def collect(self) -> Usage:
        """`Host.usage` after the garbage has been collected."""
        gc.collect()
        return usage()
