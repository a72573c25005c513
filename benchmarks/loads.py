"""What a notify costs: one load however many watch, and next to nothing where nobody does."""

from __future__ import annotations

import argparse
from statistics import median

from benchmarks.figures import quantile, spread
from benchmarks.host import Host, pin
from benchmarks.peer import Crowd, Peer
from benchmarks.plan import ShopPlan
from benchmarks.report import Report

__all__ = ["DESCRIPTION", "EXAMPLE", "add_options", "run"]

DESCRIPTION = __doc__
EXAMPLE = "python -m benchmarks loads --sessions 1000 --idle 5000"
_LOAD = 0.001  # seconds


def add_options(parser: argparse.ArgumentParser) -> None:
    """This benchmark's own options."""
    parser.add_argument("--sessions", type=int, default=1_000, help="subscribers of the key (default 1000)")
    parser.add_argument("--notifies", type=int, default=200, help="one after the other (default 200)")
    parser.add_argument("--idle", type=int, default=5_000, help="sessions that watch others (default 5000)")
    parser.add_argument("--runs", type=int, default=7, help="of 10,000 unwatched notifies (default 7)")


def run(options: argparse.Namespace, report: Report) -> None:
    """Run it."""
    pin(1)
    _watched(options, report)
    _unwatched(options, report)


def _watched(options: argparse.Namespace, report: Report) -> None:
    with Host(ShopPlan(load_seconds=_LOAD)) as host:
        report.progress(f"connecting {options.sessions} sessions")
        crowd = Crowd(Peer(host.port, is_v2=True) for _ in range(options.sessions))
        crowd.subscribe(lambda _index: ["7"])
        host.ask("counted")
        seconds: list[float] = []
        for _ in range(options.notifies):
            report.progress(f"notify {len(seconds) + 1} of {options.notifies}")
            host.order("change", "7")
            told = crowd.gather()
            if told.row.n != host.answer():
                raise RuntimeError("the readers were shown another state than the newest")
            seconds.append(told.seconds)
        loads = host.ask("counted")
    per_notify = loads / options.notifies
    report.check(loads == options.notifies, f"{options.sessions} subscribers: {per_notify:g} loads a notify")
    report.note(
        f"notify → last of {options.sessions} deliveries, 1 ms of it the load: "
        f"p50 {quantile(seconds, 0.5) * 1e3:.1f} ms, p99 {quantile(seconds, 0.99) * 1e3:.1f} ms"
    )
    report.goal("p50 ms until everywhere", quantile(seconds, 0.5) * 1e3, 15.0)


def _unwatched(options: argparse.Namespace, report: Report) -> None:
    with Host(ShopPlan()) as host:
        host.ask("unwatched", 10_000)  # warm
        without = [host.ask("unwatched", 10_000) * 1e6 for _ in range(options.runs)]
        report.progress(f"connecting {options.idle} sessions")
        crowd = Crowd(Peer(host.port, is_v2=True) for _ in range(options.idle))
        crowd.subscribe(lambda index: [str(index)])
        host.ask("counted")
        with_ = [host.ask("unwatched", 10_000) * 1e6 for _ in range(options.runs)]
        report.check(host.ask("counted") == 0, "a notify that nobody watches loads nothing")
    report.row(**{"idle sessions": 0, "CPU µs/notify": spread(without)})
    report.row(**{"idle sessions": options.idle, "CPU µs/notify": spread(with_)})
    report.goal("CPU µs of a notify that nobody watches", median(with_), 20.0)
