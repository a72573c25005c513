"""Finding, in a batch that raises, the keys it raises for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import TypeAlias

from entity_sync.clock import Clock
from entity_sync.core.loaded import Loaded
from entity_sync.errors import LoadFailed
from entity_sync.model import EntityKey

__all__ = ["Outcome", "Parting", "TimedOut", "is_news"]

Outcome: TypeAlias = Loaded | LoadFailed
_Call: TypeAlias = Callable[[Sequence[EntityKey]], Awaitable[Mapping[EntityKey, Outcome]]]
_SECONDS = 1.0  # that a first attempt may go on where good keys are still found; the others wait for it
_MOST_DOUBLINGS = 10


class TimedOut(LoadFailed):
    """A call gave no result in its time; it may hang still."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no result within {seconds:g} s", retryable=True)


class _BatchFailed(LoadFailed):
    """What a batch raised, for those keys of it that have not been tried without the others.

    Attributes:
        is_logged: whether the log has it, which is said once for all keys.
    """

    def __init__(self, error: LoadFailed, keys: Sequence[EntityKey]) -> None:
        super().__init__(f"{len(keys)} keys together: {error}", retryable=error.retryable)
        self.__cause__ = error.__cause__
        self.is_logged = False


class Parting:
    """Halves batches that raise. Where everything raises few calls are made, since the database may be away.

    Each attempt parts in another order, so that no keys are always the last; and after each that gave
    nothing the next may make twice as many calls, so that a good key among whatever many bad ones is found.
    A call that takes too long is the last: the database hangs, perhaps, and with it whatever asks it next.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._random = Random(0)  # noqa: S311 - an order, the same in each run

    async def outcomes(
        self, call: _Call, keys: Sequence[EntityKey], error: LoadFailed, *, tried: int, until: float
    ) -> dict[EntityKey, Outcome]:
        """What became of each key.

        Args:
            call: loads some of the keys.
            error: that of all keys together.
            tried: attempts so far that gave nothing.
            until: seconds of the clock, from which on no call begins.
        """
        found: dict[EntityKey, Outcome] = {}
        if error.__cause__ is None:  # a timeout, or what was refused: fewer keys make no difference
            return dict.fromkeys(keys, _BatchFailed(error, keys))
        least = 2 * len(keys).bit_length()  # calls that may fail: enough to come down to single keys
        patience = 2.0 ** min(tried, _MOST_DOUBLINGS)
        enough = self._clock.now() + _SECONDS * patience
        parts = _halves(self._random.sample(keys, len(keys)))
        failed = in_a_row = 1
        while parts and in_a_row < least * patience and self._clock.now() < until:
            if failed >= least and self._clock.now() >= enough:
                break
            part = parts.pop()  # the smallest: a large one says little
            try:
                found.update(await call(part))
                in_a_row = 0
            except LoadFailed as raised:
                failed, in_a_row = failed + 1, in_a_row + 1
                if len(part) == 1:
                    found[part[0]] = raised
                elif raised.__cause__ is None:
                    found.update(dict.fromkeys(part, _BatchFailed(raised, part)))
                else:
                    parts += _halves(part)
                if isinstance(raised, TimedOut):
                    break
        rest = [key for part in parts for key in part]
        if in_a_row == failed and rest:  # nothing was answered: no single key is to blame
            rest = list(keys)
        return found | dict.fromkeys(rest, _BatchFailed(error, rest))


def is_news(error: LoadFailed) -> bool:
    """Whether the log does not have it yet; it has it after this call."""
    if not isinstance(error, _BatchFailed):
        return True
    is_first, error.is_logged = not error.is_logged, True
    return is_first


def _halves(part: list[EntityKey]) -> list[list[EntityKey]]:
    middle = len(part) // 2
    return [part[middle:], part[:middle]]
