"""`python -m benchmarks NAME`: run one benchmark and print what it found."""

from __future__ import annotations

import argparse
import sys

from benchmarks import author, burst, fanout, lists, loads, memory, nsq, stall, wire
from benchmarks.report import Report

_BENCHMARKS = {
    "stall": stall, "fanout": fanout, "burst": burst, "loads": loads, "author": author, "memory": memory,
    "wire": wire, "lists": lists, "nsq": nsq,
}  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Entity Sync on this machine, and check what arrived: exit 1 if it was wrong.",
        epilog="examples:\n" + "\n".join(f"  {one.EXAMPLE}" for one in _BENCHMARKS.values()),
        formatter_class=raw,
    )
    names = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    for name, module in _BENCHMARKS.items():
        text = (module.DESCRIPTION or "").strip()
        each = names.add_parser(
            name,
            help=text.partition(":")[0],
            description=text,
            epilog=f"example:\n  {module.EXAMPLE}",
            formatter_class=raw,
        )
        each.add_argument("--seed", type=int, default=1, help="of everything random (default 1)")
        each.add_argument("--json", action="store_true", help="print one JSON document")
        module.add_options(each)
    return parser


def main() -> int:
    """Run what the command line names."""
    options = _parser().parse_args()
    report = Report(options.name, is_json=options.json, seed=options.seed)
    _BENCHMARKS[options.name].run(options, report)
    report.print()
    return int(report.failed)


if __name__ == "__main__":
    sys.exit(main())
