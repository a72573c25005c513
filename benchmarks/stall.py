"""One of ten readers of 64 KiB rows stalls: what the others feel, on both doors."""

from __future__ import annotations

import argparse
import sys
from statistics import median
from typing import Any

from benchmarks.reader import Reader, follow, quantile, row_of, serving

_ROW = 65_536
_READERS = 10


def options(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--pairs", type=int, default=7, help="pairs of runs, without and with (default 7)")
    parser.add_argument("--changes", type=int, default=600, help="changes in a run (default 600)")
    parser.add_argument("--interval", type=float, default=0.01, help="seconds between changes (default 0.01)")
    parser.add_argument("--doors", nargs="+", default=["direct", "asgi"], help="doors to measure")


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Alternate runs with and without a stalled reader; the ratio of the others' p99 must stay below 1.2."""
    figures: dict[str, Any] = {}
    problems: list[str] = []
    for door in chosen.doors:
        with serving(door) as port:
            without, with_stalled, growth = _pairs(port, door, chosen, problems)
        ratio = median(one / other for one, other in zip(with_stalled, without, strict=True))
        figures[f"{door}: p99 ms, nobody stalls (median of runs)"] = median(without)
        figures[f"{door}: p99 ms, one of ten stalls"] = median(with_stalled)
        figures[f"{door}: ratio, median of pairs"] = ratio
        figures[f"{door}: ratio of the medians"] = median(with_stalled) / median(without)
        figures[f"{door}: server memory growth MiB, stalled runs"] = growth / 2**20
        if median(with_stalled) / median(without) > 1.2:
            problems.append(f"{door}: the others' p99 grew by more than 20 %")
    return figures, problems


def _pairs(
    port: int, door: str, chosen: argparse.Namespace, problems: list[str]
) -> tuple[list[float], list[float], int]:
    runs: dict[bool, list[float]] = {False: [], True: []}
    _run(port, chosen, stalls=True)  # not counted: the first run pays for what stays allocated
    before = _resident(port)
    for pair in range(chosen.pairs):
        for stalls in (False, True) if pair % 2 else (True, False):
            latencies, newest = _run(port, chosen, stalls=stalls)
            runs[stalls].append(quantile(latencies, 0.99))
            if not newest:
                problems.append(f"{door}: after it resumed, the stalled reader did not get the newest row")
        if sys.stderr.isatty():
            print(f"\033[2K{door}: {pair + 1} of {chosen.pairs} pairs", end="\r", file=sys.stderr, flush=True)
    return runs[False], runs[True], _resident(port) - before


def _run(port: int, chosen: argparse.Namespace, *, stalls: bool) -> tuple[list[float], bool]:
    control = Reader(port)
    first = int(control.ask({"size": _ROW, "count": 0})["n"])
    readers = [Reader(port) for _ in range(_READERS)]
    for reader in readers:
        reader.subscribe()
    last = first + chosen.changes
    control.send({"action": "message", "body": {"count": chosen.changes, "interval": chosen.interval}})
    healthy = readers[1:] if stalls else readers
    latencies = follow(healthy, last, 30 + chosen.changes * chosen.interval * 10)
    newest = True
    if stalls:
        frames = readers[0].frames
        while row_of(readers[0].wait_for(b'{"event":"snapshot"'))[1] != last:
            pass
        newest = readers[0].frames - frames < chosen.changes
    for reader in (control, *readers):
        reader.socket.close()
    return latencies, newest


def _resident(port: int) -> int:
    control = Reader(port)
    resident = int(control.ask({})["rss"])
    control.socket.close()
    return resident
