"""One of ten readers stops reading: what that costs the other nine, and what it is shown in the end."""

from __future__ import annotations

import argparse
import select
import time
from random import Random
from typing import NamedTuple

from benchmarks.figures import quantile, spread
from benchmarks.host import Host, busy, pin, usage
from benchmarks.peer import Peer
from benchmarks.plan import ShopPlan
from benchmarks.report import Report
from benchmarks.row import NewRow, read_row

__all__ = ["DESCRIPTION", "EXAMPLE", "add_options", "run"]

DESCRIPTION = __doc__
EXAMPLE = "python -m benchmarks stall --pairs 11 --rate 100 --keys 1"
_PATIENCE = 20.0
_MIB = 1 << 20
_WINDOW = 131_072  # else the kernel takes megabytes for a reader that stalls, and it hardly does


def add_options(parser: argparse.ArgumentParser) -> None:
    """This benchmark's own options."""
    parser.add_argument("--door", choices=("direct", "asgi", "both"), default="both")
    parser.add_argument("--pairs", type=int, default=11, help="runs with and without (default 11)")
    parser.add_argument("--null", action="store_true", help="nobody stalls in either: what chance does")
    parser.add_argument("--rate", type=float, default=100.0, help="changes per second (default 100)")
    parser.add_argument("--changes", type=int, default=300, help="in one run (default 300)")
    parser.add_argument("--keys", type=int, default=1, help="that all readers watch (default 1)")
    parser.add_argument("--bytes", type=int, default=65_536, help="of a row (default 64 KiB)")
    parser.add_argument(
        "--foreign",
        type=float,
        default=0.1,
        help="share of a core that others may use; a pair with more is measured again (default 0.1)",
    )
    parser.add_argument("--growth", type=int, default=16, help="MiB the server may grow by (default 16)")


class _Result(NamedTuple):
    """One run.

    Attributes:
        seconds: from notify to receive, of every state that a healthy reader got.
        delivered: states that a healthy reader got, as a share of the changes.
        growth: bytes by which the server grew at most.
        late: states the stalled reader got after it resumed; None if nobody stalled.
        foreign: CPU seconds a second that went to others than the server and its readers.
    """

    seconds: list[float]
    delivered: float
    growth: int
    late: int | None
    foreign: float


class _Group:
    """Ten readers of one server."""

    def __init__(self, host: Host, options: argparse.Namespace) -> None:
        self._host = host
        self._options = options
        self._ids = [str(n) for n in range(options.keys)]
        peers = [Peer(host.port, is_v2=True, window=_WINDOW) for _ in range(10)]
        for peer in peers:
            peer.subscribe(self._ids)
        self._poll = select.epoll()
        self._peers = {peer.socket.fileno(): peer for peer in peers}
        for descriptor, peer in self._peers.items():
            peer.socket.setblocking(False)
            self._poll.register(descriptor, select.EPOLLIN)
        self._stalling = peers[-1]

    def run(self, *, is_stalled: bool) -> _Result:
        """Changes at the given rate; whoever stalls resumes when all is over.

        Raises:
            RuntimeError: somebody did not end with the newest state of every key.
        """
        options, stalling = self._options, self._stalling
        seconds: list[float] = []
        newest: dict[tuple[int, str], int] = {}
        healthy = set(self._peers) - ({stalling.socket.fileno()} if is_stalled else set())
        if is_stalled:
            self._poll.unregister(stalling.socket.fileno())
        foreign = self._foreign()
        started = time.perf_counter()
        self._host.order("tick", self._ids, options.rate, options.changes)
        while not self._host.has_answered:
            self._read(0.02, newest, seconds)
        last, before, highest = self._host.answer()
        self._read_until(healthy, last, newest, seconds)
        foreign = (self._foreign() - foreign) / (time.perf_counter() - started)
        late = None
        if is_stalled:
            self._poll.register(stalling.socket.fileno(), select.EPOLLIN)
            arrived: list[float] = []
            self._read_until({stalling.socket.fileno()}, last, newest, arrived)
            late = len(arrived)
        share = len(seconds) / len(healthy) / options.changes
        return _Result(seconds, share, highest - before, late, foreign)

    def _foreign(self) -> float:
        return busy() - self._host.usage().cpu - usage().cpu

    def _read_until(
        self, who: set[int], last: dict[str, int], newest: dict[tuple[int, str], int], seconds: list[float]
    ) -> None:
        deadline = time.perf_counter() + _PATIENCE
        while any(newest.get((one, id)) != n for one in who for id, n in last.items()):
            if time.perf_counter() > deadline:
                raise RuntimeError("a reader never got the newest state")
            self._read(0.02, newest, seconds)

    def _read(self, patience: float, newest: dict[tuple[int, str], int], seconds: list[float]) -> None:
        for descriptor, _ in self._poll.poll(patience):
            for message in self._peers[descriptor].arrived():
                now = time.perf_counter_ns()
                row: NewRow = read_row(message)
                if len(message) < self._options.bytes or not message.endswith(b"}"):
                    raise RuntimeError("a reader got a state that is not whole")
                if row.n <= newest.get((descriptor, row.id), 0):
                    raise RuntimeError("a reader was shown an older state")
                newest[descriptor, row.id] = row.n
                seconds.append((now - row.at) / 1e9)


def run(options: argparse.Namespace, report: Report) -> None:
    """Run it."""
    pin(1)
    for door in ("direct", "asgi") if options.door == "both" else (options.door,):
        plan = ShopPlan(door=door, row_bytes=options.bytes)
        with Host(plan) as host:
            _measure(door, _Group(host, options), options, report)


def _measure(door: str, group: _Group, options: argparse.Namespace, report: Report) -> None:
    order = Random(options.seed).choice(([False, True], [True, False]))
    results: dict[bool, list[_Result]] = {False: [], True: []}
    report.progress(f"{door}: warming up")
    group.run(is_stalled=False)
    disturbed = 0
    while len(results[True]) < options.pairs and disturbed <= 5 * options.pairs:
        report.progress(f"{door}: pair {len(results[True]) + 1} of {options.pairs}, {disturbed} disturbed")
        order.reverse()
        pair = {each: group.run(is_stalled=each and not options.null) for each in order}
        # Chosen by what others used, which no result can influence.
        if max(one.foreign for one in pair.values()) > options.foreign:
            disturbed += 1
            continue
        for each, one in pair.items():
            results[each].append(one)
    if not results[True]:
        raise RuntimeError("others use this machine all the time: try again, or raise --foreign")
    report.note(
        f"{door}: {len(results[True])} of {options.pairs} pairs, {disturbed} put aside because others used "
        f"more than {options.foreign:.0%} of a core"
    )
    for is_stalled, runs in results.items():
        report.row(
            door=door,
            **{
                "one of ten": "stalls" if is_stalled and not options.null else "reads",
                "p50 ms": spread([quantile(one.seconds, 0.5) * 1e3 for one in runs]),
                "p99 ms": spread([quantile(one.seconds, 0.99) * 1e3 for one in runs]),
                "samples/run": min(len(one.seconds) for one in runs),
                "delivered": f"{min(one.delivered for one in runs):.1%}",
                "growth MiB": max(one.growth for one in runs) / _MIB,
            },
        )
    _judge(door, results, options, report)


def _judge(
    door: str, results: dict[bool, list[_Result]], options: argparse.Namespace, report: Report
) -> None:
    p50, p99 = (
        [[quantile(one.seconds, share) for one in results[each]] for each in (True, False)]
        for share in (0.5, 0.99)
    )
    report.note(f"{door}: ratio of the medians of p50: {spread(p50[0]).median / spread(p50[1]).median:.2f}")
    pairs = sorted(with_ / without for with_, without in zip(*p99, strict=True))
    report.note(f"{door}: p99 ratios of the pairs: {' '.join(f'{one:.2f}' for one in pairs)}")
    ratio = spread(p99[0]).median / spread(p99[1]).median
    report.goal(f"{door}: ratio of the medians of p99", ratio, 1.20)
    late = sorted({one.late for one in results[True] if one.late is not None})
    if late:
        got = f"{late[0]} to {late[-1]} of {options.changes}"
        report.check(True, f"{door}: the stalled reader ended with the newest state; it got {got} states")
    growth = max(one.growth for one in results[True])
    report.check(
        growth <= options.growth * _MIB,
        f"{door}: the server grew by {growth / _MIB:.1f} MiB at most (bound {options.growth})",
    )
