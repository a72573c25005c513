"""Which keys of a batch that raises are to blame, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from entity_sync.core.loaded import Loaded
from entity_sync.errors import LoadFailed
from entity_sync.hub.parting import Outcome, Parting, TimedOut
from entity_sync.model import EntityKey
from entity_sync.testing import FakeClock

_KEYS = [EntityKey("prices", str(number)) for number in range(8)]
_GOOD = Loaded(())


def raised(text: str) -> LoadFailed:
    error = LoadFailed(text, retryable=True)
    error.__cause__ = ValueError(text)
    return error


async def parted(faults: Mapping[EntityKey, LoadFailed]) -> dict[EntityKey, Outcome]:
    """What becomes of eight keys, where a call with one of these fails."""

    async def call(keys: Sequence[EntityKey]) -> dict[EntityKey, Outcome]:
        if found := [faults[key] for key in keys if key in faults]:
            raise found[0]
        return dict.fromkeys(keys, _GOOD)

    return await Parting(FakeClock()).outcomes(call, _KEYS, raised("together"), tried=0, until=5.0)


async def test_the_bad_key_has_its_own_error():
    """The others have their rows."""
    error = raised("this one")
    outcomes = await parted({_KEYS[3]: error})
    assert outcomes == dict.fromkeys(_KEYS, _GOOD) | {_KEYS[3]: error}


async def test_a_part_that_no_smaller_one_helps_fails_together():
    """As one whose answer has a wrong shape, or takes too long: it is not halved."""
    outcomes = await parted({_KEYS[3]: LoadFailed("no result", retryable=True)})
    failed = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, LoadFailed)}
    assert _KEYS[3] in failed
    assert {str(outcome) for outcome in failed.values()} == {f"{len(failed)} keys together: no result"}
    assert all(outcome.retryable for outcome in failed.values())
    assert set(outcomes) == set(_KEYS)
    assert len(failed) < len(_KEYS)


async def test_the_first_part_that_takes_too_long_is_the_last():
    """What asks a database that hangs only hangs as well; all the others are tried again."""
    calls: list[Sequence[EntityKey]] = []

    async def call(keys: Sequence[EntityKey]) -> dict[EntityKey, Outcome]:
        calls.append(keys)
        if len(keys) > 1:
            raise raised("a part")
        raise TimedOut(1.0)

    error = raised("together")
    outcomes = await Parting(FakeClock()).outcomes(call, _KEYS, error, tried=5, until=100.0)
    assert [len(keys) for keys in calls] == [4, 2, 1]
    assert set(outcomes) == set(_KEYS)
    assert all(isinstance(outcome, LoadFailed) and outcome.retryable for outcome in outcomes.values())


@pytest.mark.parametrize("tried", [0, 20])
async def test_no_part_begins_too_late(tried: int):
    """Slow calls are no more than there is time for, whatever was tried before."""
    clock, calls = FakeClock(), 0

    async def call(keys: Sequence[EntityKey]) -> dict[EntityKey, Outcome]:
        nonlocal calls
        calls += 1
        await clock.advance(4.0)
        raise raised("a part")

    await Parting(clock).outcomes(call, _KEYS, raised("together"), tried=tried, until=10.0)
    assert calls == 3
