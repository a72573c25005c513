"""The few statistics that the benchmarks quote."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from statistics import median
from typing import NamedTuple

__all__ = ["Spread", "quantile", "spread"]


class Spread(NamedTuple):
    """A median, and the range it comes from."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{shown(self.median)} [{shown(self.low)}–{shown(self.high)}]"


def spread(values: Sequence[float]) -> Spread:
    """The median of repeated measurements with their smallest and largest."""
    return Spread(median(values), min(values), max(values))


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all do not exceed."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def shown(value: float) -> str:
    """A figure with as many digits as its size deserves."""
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"
