"""The long form: what each broker's real server is put through for minutes, and what comes of it.

python -m tests.outages                      # all brokers, all trials, about twelve minutes
python -m tests.outages --broker nsq --seconds 30
python -m tests.outages --table              # the table of docs/brokers.md, alone
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from tests.outages.trials import TRIALS, Outcome
from tests.support.servers import SERVERS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.outages", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--broker", choices=SERVERS, action="append", help="only this one; may be repeated")
    parser.add_argument("--trial", choices=TRIALS, action="append", help="only this one; may be repeated")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the trial with kills (60)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print a Markdown table and nothing else")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    outcomes: dict[tuple[str, str], Outcome] = {}
    schemes, trials = options.broker or list(SERVERS), options.trial or list(TRIALS)
    for scheme in schemes:
        for name in trials:
            say(f"{scheme}: {TRIALS[name].title} …", is_progress=True)
            with tempfile.TemporaryDirectory() as directory:
                trial = TRIALS[name].run(scheme, Path(directory), options.seconds, options.seed)
                outcome = outcomes[scheme, name] = asyncio.run(trial)
            say(f"{scheme}: {TRIALS[name].title}: {'ok' if outcome.holds else 'BROKEN'}, {outcome.text}")
    if options.table:
        print(f"| broker | {' | '.join(TRIALS[name].title for name in trials)} |")
        print(f"|---|{'---|' * len(trials)}")
        for scheme in schemes:
            print(f"| {scheme} | {' | '.join(outcomes[scheme, name].text for name in trials)} |")
    return 0 if all(outcome.holds for outcome in outcomes.values()) else 1


def say(text: str, *, is_progress: bool = False) -> None:
    """Progress goes to a terminal only, results to standard error, the table alone to standard output."""
    if sys.stderr.isatty():
        print(f"\033[2K{text}", end="\r" if is_progress else "\n", file=sys.stderr, flush=True)
    elif not is_progress:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
