"""One row that rides in thousands of views: how long a change of it keeps the loop from everybody else."""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from typing import Any

from benchmarks.figures import quantile
from benchmarks.host import pin
from benchmarks.report import Report
from entity_sync import EntitySync, Row, Settings
from entity_sync.testing import connect, settled

__all__ = ["DESCRIPTION", "EXAMPLE", "add_options", "run"]

DESCRIPTION = __doc__
EXAMPLE = "python -m benchmarks author --views 10000"
_TICK = 0.001  # seconds between two looks at the loop's lag


def add_options(parser: argparse.ArgumentParser) -> None:
    """This benchmark's own options."""
    parser.add_argument("--views", type=int, default=10_000, help="that hold the author (default 10000)")
    parser.add_argument("--changes", type=int, default=3, help="of the author (default 3)")


def run(options: argparse.Namespace, report: Report) -> None:
    """Run it."""
    pin(1)
    asyncio.run(_run(options, report))


async def _run(options: argparse.Namespace, report: Report) -> None:
    settings = Settings(max_subscriptions=options.views)
    sync, version, loads = EntitySync(settings=settings), 0, 0

    @sync.entity("users")
    async def users(id: str) -> dict[str, Any]:
        return {"id": id, "version": version}

    @sync.entity("reports")
    async def reports(id: str) -> Any:
        nonlocal loads
        loads += 1
        yield {"report": id, "text": "x" * 200}
        yield Row("users", "1", {"name": "ann", "version": version})

    async with sync, connect(sync) as client:
        report.progress(f"subscribing {options.views} views")
        body = [{"entity": "reports", "id": str(number)} for number in range(options.views)]
        for start in range(0, len(body), 500):
            await client.send({"action": "subscribe", "body": body[start : start + 500]})
            await settled(sync)
        gc.collect()  # 10,000 new views are a full collection some time; it is not one of the changes
        began = time.perf_counter()
        gc.collect()
        collected = (time.perf_counter() - began) * 1e3
        report.note(f"with the views Python's full garbage collection takes {collected:.0f} ms")
        for version in range(1, options.changes + 1):
            report.progress(f"change {version} of {options.changes}")
            client.received.clear()
            loads = 0
            lags: list[float] = []
            watching = asyncio.create_task(_watch(lags))
            began = time.perf_counter()
            await users.notify("1")
            await settled(sync)
            seconds = time.perf_counter() - began
            watching.cancel()
            told = sum(f'"version":{version}' in frame for frame in client.received)
            report.check(told == options.views, f"change {version}: {told} views told of it")
            report.check(loads == options.views, f"change {version}: {loads} loads")
            report.row(
                change=version,
                seconds=round(seconds, 2),
                **{
                    "lag p99 ms": round(quantile(lags, 0.99) * 1e3, 2),
                    "lag max ms": round(max(lags) * 1e3, 2),
                },
            )
            report.goal("ms the loop was kept at most", max(lags) * 1e3, 20.0)


async def _watch(lags: list[float]) -> None:
    while True:
        due = time.perf_counter() + _TICK
        await asyncio.sleep(_TICK)
        lags.append(time.perf_counter() - due)
