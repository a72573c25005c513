"""What a benchmark says: progress on a terminal, a table, one JSON document on request."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from benchmarks.figures import Spread, shown

__all__ = ["Report"]


class Report:
    """Collects a benchmark's figures and verdicts.

    Attributes:
        failed: some reader ended with something else than the newest state.
    """

    def __init__(self, name: str, *, is_json: bool, seed: int) -> None:
        self.failed = False
        self._name = name
        self._is_json = is_json
        self._seed = seed
        self._rows: list[dict[str, Any]] = []
        self._notes: list[str] = []
        self._is_terminal = sys.stderr.isatty() and not is_json
        self._started = time.perf_counter()

    def progress(self, text: str) -> None:
        """Say what is being done, where somebody watches."""
        if self._is_terminal:
            sys.stderr.write(f"\r\033[K{time.perf_counter() - self._started:6.1f} s  {text}")
            sys.stderr.flush()

    def row(self, **members: Any) -> None:
        """A line of the result table; all rows of a benchmark have the same members."""
        self._rows.append(members)

    def note(self, text: str) -> None:
        """A sentence below the table."""
        self._notes.append(text)

    def goal(self, what: str, value: float, limit: float) -> None:
        """A figure beside what it should not exceed; a noisy machine may miss it, so it fails nothing."""
        verdict = "met" if value <= limit else "MISSED"
        self._notes.append(f"goal {verdict}: {what} {shown(value)} (at most {shown(limit)})")

    def check(self, is_right: bool, what: str) -> None:
        """A claim about content or counts; one that is wrong fails the benchmark."""
        self.failed |= not is_right
        self._notes.append(f"{'ok' if is_right else 'WRONG'}: {what}")

    def print(self) -> None:
        """Write everything to standard output."""
        if self._is_terminal:
            sys.stderr.write("\r\033[K")
        if self._is_json:
            document = {
                "benchmark": self._name,
                "seed": self._seed,
                "failed": self.failed,
                "rows": [{name: _plain(value) for name, value in row.items()} for row in self._rows],
                "notes": self._notes,
            }
            print(json.dumps(document, ensure_ascii=False, indent=2))
            return
        names = list(self._rows[0]) if self._rows else []
        lines = [names, *([_text(value) for value in row.values()] for row in self._rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines if names else ():
            cells = [line[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            print("  ".join(cells).rstrip())
        for note in self._notes:
            print(note)


def _plain(value: Any) -> Any:
    return value._asdict() if isinstance(value, Spread) else value


def _text(value: Any) -> str:
    return shown(value) if isinstance(value, float) else "–" if value is None else str(value)
