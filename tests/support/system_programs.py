"""The `needs` marker: a test that runs a program of the system says so, and is never skipped in silence.

`@pytest.mark.needs("chromium")` skips the test where chromium is missing, and makes it fail instead where
the environment sets CI. The end of the run lists every missing program with what it cost.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["PROGRAMS", "Program", "find"]


@dataclass(frozen=True, slots=True)
class Program:
    """Where a program may be found (names on the PATH, or absolute paths), and how to get it."""

    candidates: tuple[str, ...]
    install: str = "make system"


def _newest(pattern: str) -> list[str]:
    """What Debian keeps off the PATH, the highest version first."""
    found = Path("/").glob(pattern.removeprefix("/"))
    return [
        str(path) for path in sorted(found, key=lambda path: [int(n) for n in re.findall(r"\d+", str(path))])
    ][::-1]


PROGRAMS = {
    "chromium": Program(
        (
            "chromium",
            "chromium-browser",
            "google-chrome",
            "google-chrome-stable",
            "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
            "/Applications/Chromium.app/Contents/MacOS/Chromium",
        )
    ),
    "nats-server": Program(("nats-server", "/usr/sbin/nats-server")),
    "nsqd": Program(("nsqd", str(Path.home() / "go/bin/nsqd"))),
    "nsqlookupd": Program(("nsqlookupd", str(Path.home() / "go/bin/nsqlookupd"))),
    "postgres": Program(("postgres", *_newest("/usr/lib/postgresql/*/bin/postgres"))),
    "redis-server": Program(("redis-server",)),
    "sqlite3": Program(("sqlite3",)),
}

_not_run = pytest.StashKey[Counter[str]]()


def find(name: str) -> str | None:
    """Return the path of a program in `PROGRAMS`, or None where this machine has none."""
    return next(filter(None, map(shutil.which, PROGRAMS[name].candidates)), None)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs(*programs): runs programs of the system, see system_programs.py"
    )
    config.stash[_not_run] = Counter()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    needed = sorted({name for marker in item.iter_markers("needs") for name in marker.args})
    unknown = [name for name in needed if name not in PROGRAMS]
    if unknown:
        pytest.fail(f"not in PROGRAMS of {__name__}: {', '.join(unknown)}", pytrace=False)
    missing = [name for name in needed if find(name) is None]
    if missing:
        item.config.stash[_not_run].update(missing)
        hints = " and ".join(sorted({PROGRAMS[name].install for name in missing}))
        reason = f"needs {' and '.join(missing)}: install with {hints}"
        if os.environ.get("CI", "").lower() not in {"", "0", "false"}:
            pytest.fail(f"{reason} (CI is set, so nothing is skipped)", pytrace=False)
        pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    not_run = config.stash[_not_run]
    if not_run:
        terminalreporter.section("Not run on this machine")
        for name, count in sorted(not_run.items()):
            tests = "1 test" if count == 1 else f"{count} tests"
            terminalreporter.line(f"{name}: {tests}; install it with `{PROGRAMS[name].install}`")
