"""The long form: what each broker's real server is put through for minutes, and what comes of it.

python -m tests.faults                                  all of it; docs/brokers.md says how long that takes
python -m tests.faults --broker nsq --seconds 10
python -m tests.faults --table                          the table of docs/brokers.md, alone
python -m tests.faults --trial faults --runs 50         every fault fifty times, each with another seed
python -m tests.faults --trial faults --broker nats --fault reset --seed 7
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.faults.cell import KINDS
from tests.faults.faults import FAULTS, Fault
from tests.faults.matrix import Cell, matrix
from tests.faults.trials import TRIALS, Result
from tests.support.servers import SERVERS

_MATRIX = "faults"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--broker", action="append", choices=[*KINDS], help="only this one; may be repeated")
    parser.add_argument("--trial", action="append", choices=[*TRIALS, _MATRIX], help="only this one")
    parser.add_argument("--seconds", type=float, default=60.0, help="that the kills go on (60)")
    parser.add_argument("--fault", action="append", choices=[fault.name for fault in FAULTS])
    parser.add_argument("--runs", type=int, default=1, help="of each fault (1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print a Markdown table, and nothing else")
    options = parser.parse_args()
    logging.getLogger("entity_sync").setLevel(logging.ERROR)
    logging.getLogger("entity_sync").addHandler(logging.NullHandler())
    logging.getLogger("nats").setLevel(logging.CRITICAL + 1)
    names = options.broker or [*SERVERS]
    trials = options.trial or ([*TRIALS] if options.table else [*TRIALS, _MATRIX])
    faults = [fault for fault in FAULTS if fault.name in (options.fault or [fault.name])]
    results: dict[tuple[str, str], Result] = {}
    for name in names:
        for trial in trials:
            _say(f"{name}: {trial} …", is_progress=True)
            if trial == _MATRIX:
                result = asyncio.run(_faults(name, faults, options.runs, options.seed))
            else:
                with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
                    running = TRIALS[trial].on(name, Path(directory), options.seconds, options.seed)
                    result = asyncio.run(running)
            results[name, trial] = result
            _say(f"{name}: {trial}: {'ok' if result.holds else 'BROKEN'}: {result.text}")
            for detail in result.details:
                _say(f"  {detail}")
    if options.table:
        _print_table(names, trials, results)
    return 0 if all(result.holds for result in results.values()) else 1


async def _faults(name: str, faults: Sequence[Fault], runs: int, seed: int) -> Result:
    def told(cell: Cell) -> None:
        _say(f"{name}: {cell.fault.name}: {cell}", is_progress=not cell.failures)

    cells = await matrix([name], faults, runs, seed, told)
    failures = tuple(failure for cell in cells for failure in cell.failures)
    longest = max(cells, key=lambda cell: cell.healed)
    failed = (
        f"**{len(failures)} failed**" if failures else f"all healed, the slowest in {longest.healed:.1f} s"
    )
    return Result(not failures, f"{len(cells)} × {runs}: {failed} ({longest.fault.name})", failures)


def _print_table(names: Sequence[str], trials: Sequence[str], results: dict[tuple[str, str], Result]) -> None:
    titles = [TRIALS[trial].title if trial in TRIALS else "every fault of `tests/faults`" for trial in trials]
    print(f"| broker | {' | '.join(titles)} |")
    print(f"|---|{'---|' * len(trials)}")
    for name in names:
        print(f"| {name} | {' | '.join(results[name, trial].text for trial in trials)} |")


def _say(text: str, *, is_progress: bool = False) -> None:
    """To a terminal also what is under way; the table alone goes to standard output."""
    if sys.stderr.isatty():
        print(f"\033[2K{text[:200]}", end="\r" if is_progress else "\n", file=sys.stderr, flush=True)
    elif not is_progress:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
