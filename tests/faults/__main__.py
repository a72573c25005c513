"""python -m tests.faults: the long form of the faults, or the table of them for the docs."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from tests.faults.cell import KINDS
from tests.faults.faults import FAULTS
from tests.faults.matrix import Cell, matrix


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--broker", action="append", choices=[*KINDS], help="only this one; may be repeated")
    parser.add_argument("--fault", action="append", choices=[fault.name for fault in FAULTS])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.getLogger("entity_sync").setLevel(logging.ERROR)
    logging.getLogger("nats").setLevel(logging.CRITICAL)
    faults = [fault for fault in FAULTS if fault.name in (options.fault or [fault.name])]

    def told(cell: Cell) -> None:
        print(f"{cell.name} {cell.fault.name}: {cell}", file=sys.stderr, flush=True)
        for failure in cell.failures:
            print(f"  {failure}", file=sys.stderr, flush=True)

    cells = asyncio.run(matrix(options.broker or list(KINDS), faults, options.runs, options.seed, told))
    return 1 if any(cell.failures for cell in cells) else 0


if __name__ == "__main__":
    sys.exit(main())
