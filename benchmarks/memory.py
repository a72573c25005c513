"""Resident memory of an idle connection with one subscription, beside that of bare servers."""

from __future__ import annotations

import argparse

from benchmarks.host import Host
from benchmarks.peer import Crowd, Peer
from benchmarks.plan import BaselinePlan, Plan, ShopPlan
from benchmarks.report import Report

__all__ = ["DESCRIPTION", "EXAMPLE", "add_options", "run"]

DESCRIPTION = __doc__
EXAMPLE = "python -m benchmarks memory --sessions 2000"


def add_options(parser: argparse.ArgumentParser) -> None:
    """This benchmark's own options."""
    parser.add_argument("--sessions", type=int, default=2_000, help="of each server (default 2000)")


def run(options: argparse.Namespace, report: Report) -> None:
    """Run it."""
    plans: dict[str, tuple[Plan, bool, bool]] = {
        "direct door, v2, all watch one key": (ShopPlan(), True, False),
        "direct door, v2, a key for each": (ShopPlan(), True, True),
        "direct door, classic, all watch one key": (ShopPlan(), False, False),
        "ASGI door, v2, uvicorn, all watch one key": (ShopPlan(door="asgi"), True, False),
        "bare: Protocol on uvloop, no parser": (BaselinePlan(kind="floor"), False, False),
        "bare: websockets": (BaselinePlan(kind="websockets"), False, False),
        "bare: uvicorn, websockets-sansio": (BaselinePlan(kind="uvicorn"), False, False),
    }
    found = {}
    for name, (plan, is_v2, is_own) in plans.items():
        report.progress(name)
        found[name] = _measure(plan, is_v2=is_v2, is_own=is_own, sessions=options.sessions)
        report.row(server=name, **{"KiB/connection": found[name]})
    report.note("the memory of the server's process; the kernel's own for its sockets is not in it")
    one, each, _, asgi, _, _, uvicorn = found.values()
    report.goal("direct door, KiB per connection", one, 8.0)
    report.goal("ASGI door, KiB per connection over bare uvicorn", asgi - uvicorn, 4.0)
    report.note(f"a view of its own costs {each - one:.1f} KiB, its 300-byte row and frame included")


def _measure(plan: Plan, *, is_v2: bool, is_own: bool, sessions: int) -> float:
    with Host(plan) as host:
        # What the first ones allocate for all is not counted.
        first = Crowd(Peer(host.port, is_v2=is_v2) for _ in range(100))
        first.subscribe(lambda _index: ["first"])
        before = host.ask("collect").resident
        crowd = Crowd(Peer(host.port, is_v2=is_v2) for _ in range(sessions))
        crowd.subscribe(lambda index: [str(index) if is_own else "7"])
        after = host.ask("collect").resident
        crowd.close()
        first.close()
    return float(after - before) / sessions / 1_024
