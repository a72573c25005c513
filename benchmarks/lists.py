"""Lists of rows: the CPU that a change of one row costs, and the longest turn of the loop meanwhile."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import msgspec
import pydantic

from benchmarks.figures import spread
from benchmarks.host import pin
from benchmarks.report import Report
from entity_sync import EntitySync, Settings
from entity_sync.testing import MemoryClient, connect, settled

__all__ = ["DESCRIPTION", "EXAMPLE", "add_options", "run"]

DESCRIPTION = __doc__
EXAMPLE = "python -m benchmarks lists --rows 7000"
_CITIES = ["Amber", "Birch", "Cedar", "Dale", "Ember", "Fjord", "Glade", "Heath", "Ivory", "Jade"]
_FIELDS = {
    "id": int, "reference": str, "name": str, "city": str, "status": str, "net": float, "created_at": str,
}  # fmt: skip


@dataclasses.dataclass
class _Line:
    id: int
    reference: str
    name: str
    city: str
    status: str
    net: float
    created_at: str


_Struct = msgspec.defstruct("_Struct", list(_FIELDS.items()))
_KINDS: dict[str, Callable[..., Any]] = {
    "dict": dict,
    "dataclass": _Line,
    "Struct": _Struct,
    "pydantic": pydantic.create_model("_Model", **{name: (kind, ...) for name, kind in _FIELDS.items()}),  # type: ignore[call-overload]
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """This benchmark's own options."""
    parser.add_argument("--rows", type=int, default=7_000, help="of the long list (default 7000)")
    parser.add_argument("--changes", type=int, default=5, help="of each kind (default 5)")
    parser.add_argument("--keys", type=int, default=10_000, help="with a row each (default 10000)")


def run(options: argparse.Namespace, report: Report) -> None:
    """Run it."""
    pin(1)
    asyncio.run(_run(options, report))


async def _run(options: argparse.Namespace, report: Report) -> None:
    for kind, make in _KINDS.items():
        long = _List(make, options.rows, options.seed)
        await _measure(f"{options.rows:,} rows of {kind}, one field of one", long, options, report)
    short = _List(dict, 200, options.seed, grows=True)
    await _measure("200 rows of dict, one more, 100 subscribers", short, options, report, clients=100)
    await _keys(options, report)


class _List:
    """An application that shows one list, and changes it.

    Attributes:
        rows: as they are now, by id, in order.
        change: the id of the row that changed last, and what of it is news.
    """

    def __init__(self, make: Callable[..., Any], count: int, seed: int, *, grows: bool = False) -> None:
        self._random = Random(seed)
        self._make = make
        self._grows = grows
        self.rows = {id: _row(self._random, id) for id in range(count)}
        self.change: tuple[int, dict[str, Any]] = (0, {})
        self._objects = [make(**row) for row in self.rows.values()]
        self.sync = EntitySync(random=Random(seed), settings=Settings(max_view_bytes=16 * 2**20))

        @self.sync.entity("lists", rows=("orders", "id"))
        async def lists(_id: int) -> list[Any]:
            return self._objects

        @self.sync.entity("orders")
        async def order(_id: int) -> None:
            """Nobody asks for one of them."""

    def next(self, n: int) -> None:
        """Change one field of a row, or insert one."""
        if self._grows:
            id, at = 10**6 + n, self._random.randrange(len(self.rows))
            items = list(self.rows.items())
            items.insert(at, (id, _row(self._random, id)))
            self.rows = dict(items)
            self.change = id, self.rows[id]
        else:
            id, news = self._random.choice(list(self.rows)), {"status": f"shipped {n}"}
            self.rows[id] = self.rows[id] | news
            self.change = id, news
        self._objects = [self._make(**row) for row in self.rows.values()]


async def _measure(
    what: str, shown: _List, options: argparse.Namespace, report: Report, *, clients: int = 1
) -> None:
    report.progress(what)
    figures, are_told = list[tuple[float, float]](), True
    async with shown.sync, AsyncExitStack() as stack:
        watching = [await stack.enter_async_context(connect(shown.sync)) for _ in range(clients)]
        for client in watching:
            await client.send({"action": "subscribe", "body": {"entity": "lists", "id": "1"}})
        await settled(shown.sync)
        for n in range(2 * options.changes + 2):
            shown.next(n)
            figures.append(await _cost(shown.sync, is_watched=n % 2 == 1))
            are_told &= all(_tells(client, *shown.change) for client in watching)
        await watching[0].send({"action": "subscribe", "body": {"entity": "lists", "id": "1"}})
        await settled(shown.sync)
        snapshot = msgspec.json.decode(watching[0].received[-1])
    report.row(
        what=what,
        **{
            "CPU ms a change": spread([cpu * 1e3 for cpu, _ in figures[2::2]]),
            "longest turn ms": spread([turn * 1e3 for _, turn in figures[3::2]]),
        },
    )
    report.check(are_told, f"{what}: everybody was told of each change, and of nothing else")
    are_right = [row["data"] for row in snapshot["rows"]] == list(shown.rows.values())
    report.check(are_right, f"{what}: the state is the newest at the end")


async def _keys(options: argparse.Namespace, report: Report) -> None:
    count = options.keys
    what = f"{count:,} keys of one row, each once"
    report.progress(what)
    random = Random(options.seed)
    rows = [_row(random, id) for id in range(count)]
    sync = EntitySync(random=Random(options.seed), settings=Settings(max_subscriptions=count))

    @sync.entity("orders")
    async def orders(id: int) -> dict[str, Any]:
        return rows[id]

    async with sync, connect(sync) as client:
        for start in range(0, count, 500):
            ids = range(start, min(count, start + 500))
            await client.send(
                {"action": "subscribe", "body": [{"entity": "orders", "id": str(id)} for id in ids]}
            )
            await settled(sync)
        cpu: list[float] = []
        for n in range(options.changes):
            rows[:] = [row | {"status": f"shipped {n}"} for row in rows]
            client.received.clear()
            began = time.process_time()
            for start in range(0, count, 500):
                await sync.notify("orders", *range(start, min(count, start + 500)))
                await settled(sync)
            cpu.append((time.process_time() - began) * 1e3)
            told = sum(frame.count(f'"status":"shipped {n}"') for frame in client.received)
            report.check(told == count, f"{what}: {told} told of it")
    report.row(what=what, **{"CPU ms a change": spread(cpu), "longest turn ms": "–"})


async def _cost(sync: EntitySync, *, is_watched: bool) -> tuple[float, float]:
    """Seconds of CPU until all is written; watched, the most of them in one turn of the loop too."""
    turns = [0.0]
    watching = asyncio.create_task(_watch(turns)) if is_watched else None
    await asyncio.sleep(0)
    began = time.process_time()
    await sync.notify("lists", "1")
    await settled(sync)
    cpu = time.process_time() - began
    if watching is not None:
        watching.cancel()
    return cpu, max(turns)


async def _watch(turns: list[float]) -> None:
    """Measure each turn of the loop by the CPU it takes, which other processes do not add to."""
    before = time.thread_time()
    while True:
        await asyncio.sleep(0)
        now = time.thread_time()
        turns.append(now - before)
        before = now


def _tells(client: MemoryClient, id: int, members: dict[str, Any]) -> bool:
    """Whether what it was sent last is this alone."""
    frame = msgspec.json.decode(client.received[-1])
    (found,) = [*frame.get("patch", ()), *frame.get("put", ())]
    return (found["id"], found.get("set") or found.get("data")) == (str(id), members)


def _row(random: Random, id: int) -> dict[str, Any]:
    return {
        "id": id,
        "reference": f"ORD-2026-{random.randrange(10**6):06}",
        "name": f"{random.choice(_CITIES)} {random.choice(_CITIES)}",
        "city": random.choice(_CITIES),
        "status": "packed",
        "net": random.randrange(10**5) / 100,
        "created_at": f"2026-11-{random.randrange(1, 29):02}T09:12:44.127Z",
    }
