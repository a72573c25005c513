"""10,000 notifies of one key with 1,000 subscribers and a 1 ms loader: how many loads."""

from __future__ import annotations

import argparse
from math import ceil
from typing import Any

from benchmarks.reader import Reader, follow, serving

_LOAD = 0.001


def options(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--sessions", type=int, default=1_000, help="subscribers (default 1000)")
    parser.add_argument("--notifies", type=int, default=10_000, help="notifies in the burst (default 10000)")


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Count the loads of single notifies and of a burst; the last state must be everywhere."""
    with serving("direct") as port:
        control = Reader(port)
        control.ask({"size": 300, "delay": _LOAD})
        readers = [Reader(port) for _ in range(chosen.sessions)]
        for reader in readers:
            reader.subscribe()
        single = control.ask({"count": 100, "interval": 0.05})
        follow(readers, int(single["n"]), 60)
        burst = control.ask({"count": chosen.notifies})
        follow(readers, int(burst["n"]), 60)
        after = control.ask({})
    loads = burst["loads"] + after["loads"]
    bound = 2 + ceil(burst["seconds"] / _LOAD)
    problems = []
    if single["loads"] != 100:
        problems.append(f"{single['loads']} loads for 100 notifies one after another")
    if loads > bound:
        problems.append(f"{loads} loads in the burst, more than {bound}")
    return {
        "loads for 100 notifies 50 ms apart": single["loads"],
        "burst: notifies": chosen.notifies,
        "burst: seconds": burst["seconds"],
        "burst: loads": loads,
        "burst: bound 2 + ceil(b / load time)": bound,
    }, problems
