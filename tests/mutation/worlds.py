"""A slice of the simulation and of the interleavings, small enough to be run for a mutant."""

from __future__ import annotations

import pytest

from tests.hub import test_interleavings as interleavings
from tests.simulation.world import explore


@pytest.mark.parametrize("first", [0, 20, 40])
def test_worlds(first: int):
    """No promise is broken in twenty worlds."""
    assert [explore(seed) for seed in range(first, first + 20)] == [[]] * 20


def test_interleavings():
    """No row goes to a wrong principal in a hundred short lives."""
    assert interleavings.explore(100)[0] == []
