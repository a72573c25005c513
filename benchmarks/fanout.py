"""One change to many sessions: CPU per delivered message, and how long until the last one has it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from random import Random

from benchmarks.figures import Spread, quantile, spread
from benchmarks.host import Host, pin
from benchmarks.peer import Crowd, Peer
from benchmarks.plan import BaselinePlan, Plan, ShopPlan
from benchmarks.report import Report

__all__ = ["DESCRIPTION", "EXAMPLE", "add_options", "run"]

DESCRIPTION = __doc__
EXAMPLE = "python -m benchmarks fanout --sessions 1000 --blocks 15"
_DIRECT = "direct door, v2, uvloop"
_ASGI = "ASGI door, v2, uvicorn + uvloop"
_OTHER = ": other tree"
_FLOOR = "floor: bare Protocol, uvloop"
_MESSAGE = 440  # what v2 makes of it, so that everybody writes about the same number of bytes


def add_options(parser: argparse.ArgumentParser) -> None:
    """This benchmark's own options."""
    parser.add_argument("--sessions", type=int, default=1_000, help="of each server (default 1000)")
    parser.add_argument("--blocks", type=int, default=15, help="turns that each server gets (default 15)")
    parser.add_argument("--rounds", type=int, default=10, help="changes in one turn (default 10)")
    parser.add_argument("--against", metavar="SRC", help="another tree's src, measured in the same run")


class _Variant:
    """A server with all its readers, and what was measured of it."""

    def __init__(self, host: Host, *, is_v2: bool, sessions: int) -> None:
        self.cpu: list[float] = []
        self.seconds: list[float] = []
        self.size = 0
        self._host = host
        self._last = 0
        self._crowd = Crowd(Peer(host.port, is_v2=is_v2) for _ in range(sessions))
        self._crowd.subscribe(lambda _index: ["7"])

    def turn(self, rounds: int, *, is_counted: bool = True) -> None:
        """A few changes, each begun when the one before has reached everybody."""
        before = self._host.usage()
        for _ in range(rounds):
            self._host.order("change", "7")
            told = self._crowd.gather()
            if told.row.n != self._host.answer():
                raise RuntimeError("the readers were shown another state than the newest")
            self.size = told.size
            if is_counted:
                self.seconds.append(told.seconds)
        if is_counted:
            used = self._host.usage().cpu - before.cpu
            self.cpu.append(used / rounds / len(self._crowd) * 1e6)


def run(options: argparse.Namespace, report: Report) -> None:
    """Run it."""
    pin(1)
    random = Random(options.seed)
    with ExitStack() as stack:
        variants = dict(_variants(stack, options, report))
        names = list(variants)
        for block in range(options.blocks + 1):
            report.progress(f"block {block} of {options.blocks}")
            random.shuffle(names)
            for name in names:
                variants[name].turn(options.rounds, is_counted=block > 0)
    floor = variants[_FLOOR]
    for name, variant in variants.items():
        report.row(
            server=name,
            bytes=variant.size,
            **{
                "CPU µs/message": spread(variant.cpu),
                "÷ floor": _ratio(variant, floor),
                "p50 ms": quantile(variant.seconds, 0.5) * 1e3,
                "p99 ms": quantile(variant.seconds, 0.99) * 1e3,
            },
        )
    report.check(True, f"{options.sessions} readers of each server were shown every state, byte for byte")
    if options.against is not None:
        for name in (_DIRECT, _ASGI):
            report.note(f"{name}: this tree ÷ other tree: {_ratio(variants[name], variants[name + _OTHER])}")
    direct = variants[_DIRECT]
    report.goal("direct door, p50 ms", quantile(direct.seconds, 0.5) * 1e3, 6.0)
    report.goal("direct door, p99 ms", quantile(direct.seconds, 0.99) * 1e3, 13.0)


def _ratio(variant: _Variant, floor: _Variant) -> Spread:
    return spread([mine / theirs for mine, theirs in zip(variant.cpu, floor.cpu, strict=True)])


def _variants(
    stack: ExitStack, options: argparse.Namespace, report: Report
) -> Iterator[tuple[str, _Variant]]:
    for name, (plan, is_v2) in _plans(options.against).items():
        report.progress(f"connecting {options.sessions} sessions: {name}")
        host = stack.enter_context(Host(plan))
        yield name, _Variant(host, is_v2=is_v2, sessions=options.sessions)


def _plans(against: str | None) -> dict[str, tuple[Plan, bool]]:
    plans: dict[str, tuple[Plan, bool]] = {
        _DIRECT: (ShopPlan(), True),
        "direct door, classic, uvloop": (ShopPlan(), False),
        "direct door, v2, asyncio": (ShopPlan(uvloop=False), True),
        _ASGI: (ShopPlan(door="asgi"), True),
        _FLOOR: (BaselinePlan(kind="floor", row_bytes=_MESSAGE), False),
        "floor: bare Protocol, asyncio": (
            BaselinePlan(kind="floor", row_bytes=_MESSAGE, uvloop=False),
            False,
        ),
        "websockets broadcast(), uvloop": (BaselinePlan(kind="websockets", row_bytes=_MESSAGE), False),
        "uvicorn, send() to each, uvloop": (BaselinePlan(kind="uvicorn", row_bytes=_MESSAGE), False),
    }
    if against is not None:
        plans[f"{_DIRECT}{_OTHER}"] = ShopPlan(source=against), True
        plans[f"{_ASGI}{_OTHER}"] = ShopPlan(source=against, door="asgi"), True
    return plans
