"""A burst of notifies of one key: how many loads it costs, and whether the last state is everywhere."""

from __future__ import annotations

import argparse
from math import ceil

from benchmarks.host import Host, pin
from benchmarks.peer import Crowd, Peer
from benchmarks.plan import ShopPlan
from benchmarks.report import Report

__all__ = ["DESCRIPTION", "EXAMPLE", "add_options", "run"]

DESCRIPTION = __doc__
EXAMPLE = "python -m benchmarks burst --sessions 1000 --notifies 10000"
_LOAD = 0.001  # seconds


def add_options(parser: argparse.ArgumentParser) -> None:
    """This benchmark's own options."""
    parser.add_argument("--sessions", type=int, default=1_000, help="subscribers of the key (default 1000)")
    parser.add_argument("--notifies", type=int, default=10_000, help="as fast as possible (default 10000)")
    parser.add_argument("--runs", type=int, default=6, help="bursts (default 6)")


def run(options: argparse.Namespace, report: Report) -> None:
    """Run it."""
    pin(1)
    with Host(ShopPlan(load_seconds=_LOAD)) as host:
        report.progress(f"connecting {options.sessions} sessions")
        crowd = Crowd(Peer(host.port, is_v2=True) for _ in range(options.sessions))
        crowd.subscribe(lambda _index: ["7"])
        for index in range(options.runs):
            report.progress(f"burst {index + 1} of {options.runs}")
            _measure(host, crowd, options.notifies, index % 2 == 1, report)
    report.note("bound of loads: 2 + seconds of the burst ÷ 1 ms, which is what the loader waits")


def _measure(host: Host, crowd: Crowd, notifies: int, is_yielding: bool, report: Report) -> None:
    host.ask("counted")
    cpu = host.usage().cpu
    host.order("burst", "7", notifies, is_yielding)
    last, delivered, elapsed = crowd.follow(lambda: host.answer() if host.has_answered else None)
    cpu = host.usage().cpu - cpu
    n, seconds = last
    loads = host.ask("counted")
    bound = 2 + ceil(seconds / _LOAD)
    report.row(
        pauses="a turn per 100" if is_yielding else "none",
        notifies=notifies,
        loads=loads,
        bound=bound,
        **{
            "burst s": seconds,
            "until shown everywhere s": elapsed,
            "CPU s": cpu,
            "states/reader": delivered / len(crowd),
        },
    )
    report.check(loads <= bound, f"{loads} loads for {notifies} notifies, at most {bound}")
    report.check(crowd.shown("7") == {n}, f"{len(crowd)} readers ended with the last state")
