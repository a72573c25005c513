"""The fixtures that come with the package."""

from __future__ import annotations

import pytest

from entity_sync.testing.clock import FakeClock

__all__ = ["entity_sync_clock"]


@pytest.fixture
def entity_sync_clock() -> FakeClock:
    """A clock that the test moves: ``EntitySync(clock=entity_sync_clock)``."""
    return FakeClock()
