"""What a wrong hub is, and the rules that it may break."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.world import Habits

RULES = {
    1: "subscribe: register, then load",
    2: "one load at a time, and another after it",
    3: "its own echo loads nothing",
    4: "replicas are held to revisions",
    5: "a version is the content",
    6: "what a load found is watched",
    7: "a gap is found, and loaded again",
    8: "a slow client has marks, not frames",
    9: "rights are asked before data flows",
    10: "a load fails in bounds, and aloud",
    11: "notify after the commit, and it is kept",
    12: "no more loads than asked for",
}
"""The rules of the algorithm, in a few words each; docs/guarantee.md tells them in full."""


@dataclass(frozen=True)
class Variant:
    """A wrong hub, or a wrong habit of the application.

    Attributes:
        rule: which of `RULES` it breaks; 0 for none.
    """

    rule: int
    name: str
    what: str
    applied: Callable[[], AbstractContextManager[Any]] = nullcontext
    habits: Habits = field(default_factory=Habits)
