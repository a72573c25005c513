"""python -m tests.simulation: run worlds, the table of wrong variants, or one world again."""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.campaign import RIGHT, VARIANTS, Outcome, campaign
from tests.simulation.loop import run
from tests.simulation.narrator import narrated
from tests.simulation.variants import RULES
from tests.simulation.world import World

_SEEDS = (1, 2, 3)
_SHOWN = 10  # broken worlds
_EPILOG = """examples:
  python -m tests.simulation --worlds 20000            ours must break nothing
  python -m tests.simulation --table                   the rules, and when a hub without one is caught
  python -m tests.simulation --replay 1000004          one world again, told step by step
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description="The real hub under virtual time, in seeded worlds.",
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--worlds", type=int, default=2_000, help="worlds to run (default 2000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the campaign (default 1)")
    parser.add_argument(
        "--variant",
        choices=sorted(VARIANTS),
        default="ours",
        metavar="HUB",
        help="which hub, of those in the table (default ours)",
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: the cores)"
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="what hubs without a rule break, and when that is found, as a Markdown table",
    )
    parser.add_argument(
        "--replay", type=int, metavar="WORLD", help="run the world of this seed and tell what happens"
    )
    options = parser.parse_args()
    if options.replay is not None:
        return _replay(options.replay, options.variant)
    if options.table:
        return _table(options.jobs)
    outcome = campaign(options.variant, options.worlds, options.seed, jobs=options.jobs)
    print(_line(outcome))
    for world in outcome.seeds[:_SHOWN]:
        print(f"see it by: python -m tests.simulation --variant {outcome.variant} --replay {world}")
    return 1 if outcome.broken else 0


def _line(outcome: Outcome) -> str:
    rate = outcome.worlds / outcome.seconds
    broken = f"{outcome.broken} of {outcome.worlds:,} worlds broke a promise"
    text = f"{outcome.variant}: {broken}, {rate:,.0f} worlds/s"
    return text if outcome.first is None else f"{text}, first broken: world {outcome.first}"


def _table(jobs: int) -> int:
    print("| rule | hub without it | what breaks | first in world |\n" + "|---" * 4 + "|", flush=True)
    wrong = [variant for variant in VARIANTS.values() if variant is not RIGHT]
    missed = 0
    with ProcessPoolExecutor(jobs) as pool:
        found = pool.map(_hunt, [variant.name for variant in wrong for _ in _SEEDS], _SEEDS * len(wrong))
        for variant in wrong:
            outcomes = [next(found) for _ in _SEEDS]
            missed += any(outcome.first is None for outcome in outcomes)
            firsts = ", ".join(str(outcome.first or "never") for outcome in outcomes)
            what = f"{variant.name}: {variant.what} | {_broken(outcomes)}"
            print(f"| {variant.rule}. {RULES[variant.rule]} | {what} | {firsts} |", flush=True)
    return 1 if missed else 0


def _hunt(name: str, seed: int) -> Outcome:
    return campaign(name, 1_000, seed, jobs=1, stop_at_first=True)


def _broken(outcomes: list[Outcome]) -> str:
    kinds = {
        "stale": sum(outcome.stale for outcome in outcomes),
        "goes back": sum(outcome.backwards for outcome in outcomes),
        "else": sum(outcome.other for outcome in outcomes),
    }
    return ", ".join(kind for kind, count in kinds.items() if count)


def _replay(seed: int, name: str) -> int:
    variant = VARIANTS[name]
    with variant.applied(), narrated():
        world = World(seed, variant.habits)
        _, failures = run(world.live())
    for text in (*world.violations, *(str(failure) for failure in failures)):
        print(f"BROKEN: {text}")
    return 1 if world.violations or failures else 0


if __name__ == "__main__":
    sys.exit(main())
