"""Many worlds, on all cores, with progress."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tests.simulation.variants import MISUSED, WRONG, Variant
from tests.simulation.world import explore

RIGHT = Variant(0, "ours", "the algorithm as built")
VARIANTS = {variant.name: variant for variant in (RIGHT, *WRONG, *MISUSED)}
_CHUNK = 25
_SPREAD = 1_000_003  # worlds of neighbouring campaign seeds do not overlap


@dataclass(frozen=True)
class Outcome:
    """What a campaign found; ``first`` counts its worlds from 1, ``seeds`` are those of the broken ones."""

    variant: str
    worlds: int
    stale: int
    backwards: int
    other: int
    first: int | None
    seconds: float
    seeds: tuple[int, ...]

    @property
    def broken(self) -> int:
        return self.stale + self.backwards + self.other


def world_seed(seed: int, number: int) -> int:
    """The seed of a campaign's world."""
    return seed * _SPREAD + number


def explore_chunk(name: str, first: int, count: int) -> list[tuple[int, list[str]]]:
    """Run worlds with consecutive seeds; returns the broken ones."""
    logging.disable(logging.CRITICAL)
    variant = VARIANTS[name]
    try:
        with variant.applied():
            found = ((seed, explore(seed, variant.habits)) for seed in range(first, first + count))
            return [(seed, violations) for seed, violations in found if violations]
    finally:
        logging.disable(logging.NOTSET)


def campaign(name: str, worlds: int, seed: int, *, jobs: int, stop_at_first: bool = False) -> Outcome:
    """Run ``worlds`` worlds of one variant."""
    started = time.perf_counter()
    broken: list[tuple[int, list[str]]] = []
    done = 0
    for chunk in _chunks(name, worlds, seed, jobs):
        broken += chunk
        done = min(worlds, done + _CHUNK)
        _progress(name, done, worlds, started)
        if broken and stop_at_first:
            break
    backwards = sum(any("went back" in text for text in texts) for _, texts in broken)
    stale = sum(all("ends with" in text or "stale" in text for text in texts) for _, texts in broken)
    first = min((found - world_seed(seed, 0) + 1 for found, _ in broken), default=None)
    other = len(broken) - backwards - stale
    seconds = time.perf_counter() - started
    return Outcome(name, done, stale, backwards, other, first, seconds, tuple(seed for seed, _ in broken))


def _chunks(name: str, worlds: int, seed: int, jobs: int) -> Iterator[list[tuple[int, list[str]]]]:
    starts = range(world_seed(seed, 0), world_seed(seed, worlds), _CHUNK)
    counts = [min(_CHUNK, world_seed(seed, worlds) - start) for start in starts]
    if jobs == 1:
        yield from map(explore_chunk, [name] * len(starts), starts, counts)
        return
    with ProcessPoolExecutor(jobs) as pool:
        try:
            yield from pool.map(explore_chunk, [name] * len(starts), starts, counts)
        finally:
            pool.shutdown(cancel_futures=True)


def _progress(name: str, done: int, worlds: int, started: float) -> None:
    if sys.stderr.isatty():
        rate = done / (time.perf_counter() - started)
        end = "\r" if done < worlds else "\n"
        print(
            f"\033[2K{name}: {done:,} of {worlds:,} worlds, {rate:,.0f}/s",
            end=end,
            file=sys.stderr,
            flush=True,
        )


__all__ = ["RIGHT", "VARIANTS", "Outcome", "campaign", "explore_chunk", "world_seed"]
