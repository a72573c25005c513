"""python -m tests.mutation: change the core and the hub in small ways, and see whether a test notices."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.mutation.mutants import Mutant, Source
from tests.mutation.report import Record, document, explained, rows
from tests.mutation.runner import Verdict, run_all

_ROOT = Path(__file__).resolve().parent.parent.parent
_SOURCES = _ROOT / "src"
_PACKAGES = ("core", "hub")
_ALIVE = ("survived", "uncovered")

_EPILOG = """examples:
  python -m tests.mutation                        everything
  python -m tests.mutation core.view hub          one module, and a package
  python -m tests.mutation --survivors            again those that no test noticed last time
  python -m tests.mutation --written              test nothing; write docs/mutation.md from the last run
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description="Mutation testing of core/ and hub/.",
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("only", nargs="*", help="modules or packages (default: all)")
    parser.add_argument("--survivors", action="store_true", help="only those not known to be noticed")
    parser.add_argument("--written", action="store_true", help="only write docs/mutation.md")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument(
        "--least", type=float, default=85.0, help="the score below which it fails (default 85)"
    )
    options = parser.parse_args()
    sources = [
        Source(_SOURCES, path)
        for package in _PACKAGES
        for path in sorted((_SOURCES / "entity_sync" / package).glob("*.py"))
    ]
    mutants = {source.short: source.mutants() for source in sources}
    excluded = {source.short: source.excluded for source in sources}
    record = Record(_ROOT / "build" / "mutation.json")
    if not options.written:
        wanted = [
            mutant
            for module, found in mutants.items()
            if not options.only or module in options.only or module.partition(".")[0] in options.only
            for mutant in found
            if not (options.survivors and record.verdicts.get(mutant.name) in ("killed", "timeout"))
        ]
        _run(wanted, record, options.jobs)
        record.save([mutant.name for found in mutants.values() for mutant in found])
    table = list(rows(mutants, excluded, record.verdicts))
    print("\n".join(map(str, table)))
    alive = [m.name for found in mutants.values() for m in found if record.verdicts.get(m.name) in _ALIVE]
    untested = sum(m.name not in record.verdicts for found in mutants.values() for m in found)
    if untested:
        print(f"\n{untested} mutants have not been tested yet, and are not in the table.")
    if options.written:
        document(_ROOT / "docs" / "mutation.md", table, alive, untested)
    if unknown := explained(alive)[1]:
        print(f"\n{len(unknown)} survive, and tests/mutation/reasons.toml does not say why:")
        print("\n".join(f"  {name}" for name in unknown))
    low = [row for row in table if row.name.startswith("**") and row.score < options.least]
    return 1 if low else 0


def _run(mutants: list[Mutant], record: Record, jobs: int) -> None:
    began = time.monotonic()
    count = 0

    def told(mutant: Mutant, verdict: Verdict) -> None:
        nonlocal count
        count += 1
        record.verdicts[mutant.name] = verdict
        if verdict in _ALIVE:
            print(f"{verdict} (line {mutant.first}): {mutant.name}", flush=True)
        if count % 100 == 0:
            seconds = time.monotonic() - began
            print(f"{count} of {len(mutants)}, {seconds / 60:.0f} min", file=sys.stderr, flush=True)
            record.save(record.verdicts)

    run_all(mutants, _SOURCES, jobs, told)


if __name__ == "__main__":
    sys.exit(main())
