"""What became of the mutants: the scores, and why the survivors survive."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.mutants import Mutant

__all__ = ["Record", "Row", "document", "explained", "reasons", "rows"]

_HERE = Path(__file__).parent
_MADE = "<!-- made by make mutation -->"


@dataclass(frozen=True, slots=True)
class Row:
    """The mutants of one module, or of several."""

    name: str
    killed: int
    timeout: int
    survived: int
    uncovered: int
    excluded: int

    @property
    def mutants(self) -> int:
        """How many there are."""
        return self.killed + self.timeout + self.survived + self.uncovered

    @property
    def score(self) -> float:
        """How many of a hundred were noticed."""
        return 100 * (self.killed + self.timeout) / self.mutants if self.mutants else 100.0

    def __str__(self) -> str:
        alive = self.survived + self.uncovered
        cells = (self.name, self.mutants, self.killed, self.timeout, alive, f"{self.score:.1f} %")
        return "| " + " | ".join(map(str, cells)) + " |"


class Record:
    """The verdicts of earlier runs, in a file that no commit holds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.verdicts: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}

    def save(self, known: Iterable[str]) -> None:
        """Keep what is known of mutants that exist still."""
        kept = {name: self.verdicts[name] for name in known if name in self.verdicts}
        self._path.parent.mkdir(exist_ok=True)
        self._path.write_text(json.dumps(kept, ensure_ascii=False, indent=0), "utf-8")


def rows(
    mutants: Mapping[str, list[Mutant]], excluded: Mapping[str, int], verdicts: Mapping[str, str]
) -> Iterator[Row]:
    """A row for each module, for each package, and for all."""
    counted = {
        module: Counter(verdicts[mutant.name] for mutant in found if mutant.name in verdicts)
        for module, found in mutants.items()
    }
    packages = sorted({module.partition(".")[0] for module in mutants})
    for package in packages:
        modules = [module for module in mutants if module.partition(".")[0] == package]
        for module in modules:
            if counted[module]:
                yield _row(f"`{module.replace('.', '/')}.py`", [counted[module]], excluded[module])
        yield _row(
            f"**{package}/**",
            [counted[module] for module in modules],
            sum(excluded[module] for module in modules),
        )
    yield _row("**all**", counted.values(), sum(excluded.values()))


def _row(name: str, counts: Iterable[Counter[str]], excluded: int) -> Row:
    total: Counter[str] = sum(counts, Counter())
    return Row(name, total["killed"], total["timeout"], total["survived"], total["uncovered"], excluded)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why some mutants survive.

    Attributes:
        mutants: their names.
        patterns: what names of others look like.
    """

    text: str
    mutants: tuple[str, ...]
    patterns: tuple[re.Pattern[str], ...]

    def covers(self, name: str) -> bool:
        """Whether it is the reason of this one."""
        return name in self.mutants or any(pattern.fullmatch(name) for pattern in self.patterns)


def reasons() -> list[Reason]:
    """What reasons.toml says."""
    told = tomllib.loads((_HERE / "reasons.toml").read_text("utf-8"))["reason"]
    return [
        Reason(one["text"], tuple(one.get("mutants", ())), tuple(map(re.compile, one.get("patterns", ()))))
        for one in told
    ]


def explained(survivors: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The survivors by their reasons, and those of which nobody has said why."""
    known = reasons()
    found: dict[str, list[str]] = {reason.text: [] for reason in known}
    unknown: list[str] = []
    for name in survivors:
        reason = next((reason for reason in known if reason.covers(name)), None)
        (unknown if reason is None else found[reason.text]).append(name)
    return {text: names for text, names in found.items() if names}, unknown


def document(path: Path, table: Iterable[Row], survivors: Iterable[str], untested: int) -> None:
    """Write the scores and the survivors into the page, behind the mark; what is before it is by hand."""
    head = path.read_text("utf-8").partition(_MADE)[0]
    lines = ["| | mutants | killed | timed out | alive | score |", "|---|---|---|---|---|---|"]
    lines += map(str, table)
    if untested:
        lines += ["", f"{untested} mutants have not been tested since the last change, and are not counted."]
    by_reason, unknown = explained(survivors)
    if unknown:
        by_reason["Survived the last run, and nobody has said why"] = unknown
    lines += ["", "## What survives, and why"]
    for text, names in by_reason.items():
        lines += ["", f"**{text}** ({len(names)})", "", *(f"- {_code(name)}" for name in names)]
    path.write_text(f"{head}{_MADE}\n\n" + "\n".join(lines) + "\n", "utf-8")


def _code(name: str) -> str:
    fence = "``" if "`" in name else "`"
    return f"{fence}{name}{fence}"
