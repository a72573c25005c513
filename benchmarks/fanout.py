"""One changed row to N sessions: processor time for each message, and how long it takes."""

from __future__ import annotations

import argparse
import json
from statistics import median
from typing import Any

from benchmarks.reader import DOORS, Reader, follow, quantile, serving


def options(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--sessions", type=int, default=1_000, help="subscribed sessions (default 1000)")
    parser.add_argument("--changes", type=int, default=200, help="changes in a run (default 200)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each door (default 3)")
    parser.add_argument("--doors", nargs="+", default=list(DOORS), choices=DOORS, help="doors to measure")


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Change one row again and again, each time when the change before has reached everybody."""
    figures: dict[str, Any] = {}
    for door in chosen.doors:
        with serving(door) as port:
            runs = [_run(port, chosen) for _ in range(chosen.runs)]
        cpu, p50, p99 = (median(one[figure] for one in runs) for figure in range(3))
        figures[f"{door}: cpu µs per message"] = cpu
        figures[f"{door}: notify to arrival p50 ms"] = p50
        figures[f"{door}: notify to arrival p99 ms"] = p99
    return figures, []


def _run(port: int, chosen: argparse.Namespace) -> tuple[float, float, float]:
    control = Reader(port)
    control.ask({"size": 300, "delay": 0.0})
    readers = [Reader(port) for _ in range(chosen.sessions)]
    for reader in readers:
        reader.subscribe()
    interval = chosen.sessions * 30e-6
    started = control.ask({})
    control.send({"action": "message", "body": {"count": chosen.changes, "interval": interval}})
    latencies = follow(readers, int(started["n"]) + chosen.changes, 120)
    ended: dict[str, Any] = {}
    while "cpu" not in ended:
        ended = _body(control)
    for reader in (control, *readers):
        reader.socket.close()
    cpu = ended["cpu"] / len(latencies) * 1e6
    return cpu, quantile(latencies, 0.5), quantile(latencies, 0.99)


def _body(control: Reader) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(control.wait_for(b'{"event":"message"'))["body"]
    return body
