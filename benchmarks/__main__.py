"""python -m benchmarks NAME: run one measurement."""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks import burst, fanout, memory, stall

BENCHMARKS = {"stall": stall, "fanout": fanout, "burst": burst, "memory": memory}

EPILOG = """examples:
  python -m benchmarks stall                 one of ten readers stops; do the others feel it?
  python -m benchmarks fanout --sessions 1000
  python -m benchmarks burst --json
"""


def main() -> int:
    """Run the benchmark that the command line names; 1 if what it saw was wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="name", required=True)
    for name, benchmark in BENCHMARKS.items():
        command = commands.add_parser(name, help=(benchmark.__doc__ or "").partition("\n")[0])
        command.add_argument("--json", action="store_true", help="write the figures as one JSON object")
        command.add_argument("--seed", type=int, default=1, help="seed of whatever is drawn (default 1)")
        benchmark.options(command)
    chosen = parser.parse_args()
    figures, problems = BENCHMARKS[chosen.name].run(chosen)
    if chosen.json:
        print(json.dumps({"benchmark": chosen.name, "problems": problems, **figures}))
    else:
        for name, value in figures.items():
            print(f"{name:48} {value:,.3f}" if isinstance(value, float) else f"{name:48} {value}")
        for problem in problems:
            print(f"WRONG: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
