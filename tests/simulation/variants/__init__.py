"""Wrong hubs, each without one rule: the simulation must catch every one, or it shows nothing of ours."""

from __future__ import annotations

from tests.simulation.variants.loading import LOADING
from tests.simulation.variants.missing import MISSING
from tests.simulation.variants.subscribing import SUBSCRIBING
from tests.simulation.variants.telling import TELLING
from tests.simulation.variants.variant import RULES, Variant
from tests.simulation.world import Habits

__all__ = ["MISUSED", "RULES", "WRONG", "Variant"]

WRONG = tuple(sorted((*SUBSCRIBING, *LOADING, *MISSING, *TELLING), key=lambda variant: variant.rule))
"""Each must be caught within 1,000 worlds, whatever the seed."""

MISUSED = (
    Variant(
        11,
        "notify-before-commit",
        "the application notifies before it commits",
        habits=Habits(notifies_before_commit=True),
    ),
    Variant(
        11,
        "crash-after-commit",
        "a writer dies between commit and notify",
        habits=Habits(crashes_after_commit=True),
    ),
    Variant(
        6,
        "new-tags-only",
        "a notify names where a row is, and not where it was",
        habits=Habits(forgets_old_tags=True),
    ),
)
"""What no hub can make up for, and an application must not do."""
