"""Nodes over one truth, clients that watch it, and what must hold whatever happens to the broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from random import Random
from types import TracebackType
from typing import Any, Self

from entity_sync import EntitySync, Settings
from entity_sync.brokers.base import Broker
from entity_sync.model import Wire
from tests.faults.viewer import ENTITY, Viewer

__all__ = ["SHORT", "World"]

SHORT = Settings(
    beat_interval=0.5, stale_after=2.0, publish_timeout=1.0, echo_interval=0.2, echo_timeout=0.6,
    gap_grace=0.25, gap_interval=0.3, quiet_after=0.1, alive_interval=0.5, classic_snapshot=True,
)  # fmt: skip
"""So that everything that takes its time takes little of a test's."""

_LOOK = 0.01  # seconds between two looks at what the clients show
_ELSEWHERE = 60.0  # seconds that others may take to notify
_WIRES: tuple[Wire, ...] = ("v2", "v2", "classic")


class World:
    """A run; ``async with`` starts and ends it. Whatever promise is broken is in `violations`.

    Attributes:
        nodes: one for each broker.
        viewers: several on each node; every one watches every row.
        topics: what the names of all topics begin with.
    """

    def __init__(
        self, brokers: Sequence[str | Broker], ids: Collection[str], *,
        seed: object, settings: Settings = SHORT, silence: float = 4.0, takes_noise: bool = False,
    ) -> None:  # fmt: skip
        """
        Args:
            brokers: one for each node.
            ids: the rows.
            seed: of all chance; also keeps the run's topics apart from those of others.
            silence: seconds that a v2 client may show an old row without saying so.
            takes_noise: a client library may fail in its own way over bytes that no server sends.
        """
        self.random = Random(f"{seed}")
        self.violations: list[str] = []
        self.truth = dict.fromkeys(ids, 0)
        self._times: dict[str, list[float]] = {id: [0.0] for id in ids}
        self._silence = silence
        self._takes_noise = takes_noise
        self._reader = Random(f"{seed} loads")
        self.topics = f"{self.random.getrandbits(48):x}."
        self.nodes = [EntitySync(broker, settings=settings, topic_prefix=self.topics) for broker in brokers]
        for node in self.nodes:
            node.entity(ENTITY)(self._load)
        self.viewers = [
            Viewer(f"client {number} ({wire}) of node {'ABC'[node]}", node, wire, self.complain)
            for node in range(len(self.nodes))
            for number, wire in enumerate(_WIRES)
        ]
        self._stack = AsyncExitStack()
        self._notifying: set[asyncio.Task[Any]] = set()
        self._jobs: list[asyncio.Task[None]] = []

    def complain(self, text: str) -> None:
        """A promise was broken."""
        if len(self.violations) < 20:
            self.violations.append(text)

    # Life

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._take)
        self._stack.callback(loop.set_exception_handler, None)
        listening = _Errors(self.complain)
        logging.getLogger("entity_sync").addHandler(listening)
        self._stack.callback(logging.getLogger("entity_sync").removeHandler, listening)
        try:
            await asyncio.gather(*(self._stack.enter_async_context(node) for node in self.nodes))
        except BaseException:
            await self._stack.aclose()
            raise
        self._jobs = [
            loop.create_task(viewer.run(self.nodes[viewer.node], self.truth)) for viewer in self.viewers
        ]
        self._jobs.append(loop.create_task(self._watch()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for job in (*self._jobs, *self._notifying):
            job.cancel()
        for outcome in await asyncio.gather(*self._jobs, *self._notifying, return_exceptions=True):
            if isinstance(outcome, Exception):
                self.complain(f"a part of the world failed: {outcome!r}")
        await self._stack.aclose()

    # What happens

    def commit(self, id: str, node: EntitySync | None = None) -> None:
        """Change a row, and notify in the background, through any node unless one is named."""
        loop, through = asyncio.get_running_loop(), self.random.choice(self.nodes)
        self.truth[id] += 1
        self._times[id].append(loop.time())
        task = loop.create_task((node or through).notify(ENTITY, id))
        self._notifying.add(task)
        task.add_done_callback(self._notified)

    def commit_silently(self) -> None:
        """Change all rows; somebody else notifies."""
        for id, times in self._times.items():
            self.truth[id] += 1
            times.append(asyncio.get_running_loop().time() + _ELSEWHERE)

    async def write(self, seconds: float, rate: float, ids: Collection[str]) -> None:
        """Commit at a rate, for a time."""
        loop, choice = asyncio.get_running_loop(), sorted(ids)
        start = due = loop.time()
        while due < start + seconds:
            self.commit(self.random.choice(choice))
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def all_notified(self) -> None:
        """Return once every notify has returned."""
        await asyncio.gather(*self._notifying, return_exceptions=True)

    def _take(self, _loop: object, context: dict[str, Any]) -> None:
        """What asyncio would log."""
        if not self._takes_noise:
            self.complain(f"nobody took: {context}")

    def _notified(self, task: asyncio.Task[Any]) -> None:
        self._notifying.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.complain(f"notify raised {task.exception()!r}")

    async def _load(self, id: str) -> dict[str, object]:
        value = self.truth[id]
        await asyncio.sleep(self._reader.choice((0.0, 0.001, 0.004)))
        return {"entity": ENTITY, "id": id, "n": value}

    # What must hold

    @property
    def stale_views(self) -> list[str]:
        """Every row that a client shows otherwise than it is."""
        return [
            f"{viewer.name} shows {viewer.shown.get(id)} of {id}, which is {value}"
            for viewer in self.viewers
            for id, value in self.truth.items()
            if viewer.shown.get(id) != value
        ]

    @property
    def stale_clients(self) -> list[str]:
        """Every client that says that what it shows may be old."""
        return [
            f"{viewer.name} says stale"
            for viewer in self.viewers
            if any(viewer.says_stale(id) for id in self.truth)
        ]

    async def settle(self, within: float) -> float:
        """Return after how many seconds all show the truth and nobody says stale.

        Raises:
            AssertionError: not in time.
        """
        return await self._until(within, lambda: self.stale_views + self.stale_clients)

    async def told_stale(self, within: float, nodes: Collection[int]) -> float:
        """Return after how many seconds every v2 client of these nodes says stale.

        Raises:
            AssertionError: not in time.
        """
        return await self._until(within, lambda: [
            f"{viewer.name} was not told stale"
            for viewer in self.viewers
            if viewer.wire == "v2" and viewer.node in nodes and not viewer.is_stale
        ])  # fmt: skip

    async def _until(self, within: float, missing: Callable[[], list[str]]) -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        while left := missing():
            if loop.time() - start > within:
                shown = "\n  ".join(left[:10])
                raise AssertionError(f"{len(left)} after {within:g} s, the first:\n  {shown}")
            await asyncio.sleep(_LOOK)
        return loop.time() - start

    async def _watch(self) -> None:
        """Find every v2 client that shows an old row for long and does not say so."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(5 * _LOOK)
            before = loop.time() - self._silence
            for viewer in self.viewers:
                for id, times in self._times.items():
                    shown = viewer.shown.get(id, 0) if viewer.wire == "v2" else len(times)
                    if shown + 1 < len(times) and times[shown + 1] < before and not viewer.says_stale(id):
                        self.complain(
                            f"{viewer.name} shows {shown} of {id}, which is {len(times) - 1}, "
                            f"for {self._silence:g} s, and was not told"
                        )


class _Errors(logging.Handler):
    """No adapter and no part of a node may fail in a way that is logged as an error."""

    def __init__(self, complain: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._complain = complain

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._complain(f"{record.name} logged: {record.getMessage()} ({error!r})")
