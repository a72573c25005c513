"""Views that are loaded again, paced: in which order, and when that is over."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from itertools import count

import pytest

from entity_sync.core.loaded import Loaded
from entity_sync.core.loadstate import Cause
from entity_sync.core.view import View
from entity_sync.hub.pacing import Pacing
from entity_sync.model import EntityKey
from entity_sync.testing import FakeClock

_RATE = 1_000.0
_BATCH, _BETWEEN = 20, 0.02  # views at once, and seconds to the next, at that rate


_NUMBERS = count(1)
_KNOWN: dict[int, View] = {}


class Paced:
    """A pacing whose loads are written down; a test says when they end."""

    def __init__(self, reload: Callable[[View], None] | None = None, rate: float = _RATE) -> None:
        self.clock = FakeClock()
        self.begun: list[View] = []
        self.finished = 0
        self.pacing = Pacing(self.clock, rate, _KNOWN.get, reload or self.begun.append, self._finish)

    def _finish(self) -> None:
        self.finished += 1

    async def turns(self, count: int) -> None:
        """Let so many batches go by."""
        for _ in range(count):
            await self.clock.advance(_BETWEEN * 1.001)


def views(many: int) -> list[View]:
    made = [View(EntityKey("reports", str(number)), (), next(_NUMBERS)) for number in range(many)]
    _KNOWN.update((view.number, view) for view in made)
    return made


def end(pacing: Pacing, view: View) -> None:
    """A load of it begins and has a result."""
    view.trigger(Cause.DEPENDENCY, 0.0)
    view.start(view.begun + 1, 0.0)
    view.succeed(Loaded(()))
    pacing.settled(view)


@pytest.mark.parametrize("few", [1, 3, 7, 31, 255])
async def test_a_small_set_is_not_behind_a_large_one(few: int):
    """Whichever asked first: what a small set waits for is as many of the large one, not all."""
    paced, many, some = Paced(), views(5_000), views(few)
    paced.pacing.add(many)
    paced.pacing.add(some)
    await paced.turns(2 * -(-few // _BATCH))
    assert [view for view in paced.begun if view in set(some)] == some
    assert len(paced.begun) <= 2 * few + 3 * _BATCH


async def test_a_large_set_is_not_behind_small_ones():
    """However many small sets ask again and again, a large one gets every other batch, in order."""
    paced, many = Paced(), views(1_000)
    small = views(1_000)
    paced.pacing.add(many)
    for _ in range(2 * 1_000 // _BATCH):
        for view in small:
            paced.pacing.add([view])
        await paced.turns(1)
    ours = set(many)
    assert [view for view in paced.begun if view in ours] == many


async def test_who_waits_keeps_its_place():
    """A set that is asked for before each batch is loaded whole before any view of it comes again."""
    paced, many = Paced(), views(200)
    for _ in range(200 // _BATCH):
        paced.pacing.add(many)
        await paced.turns(1)
    assert paced.begun[:200] == many


async def test_a_view_of_two_sets_is_loaded_once():
    """It comes as soon as either has it come, and neither loads it again."""
    paced, many = Paced(), views(100)
    paced.pacing.add(many)
    paced.pacing.add(many[-1:])
    assert paced.pacing.waits(many[-1])
    await paced.turns(10)
    assert paced.begun == [*many[:40], many[-1], *many[40:-1]]


def dropped(paced: Paced, gone: Sequence[View]) -> None:
    for view in gone:
        paced.pacing.drop(view)
        assert not paced.pacing.waits(view)


async def test_what_is_dropped_waits_no_longer():
    """A view of two sets that nobody watches leaves both; the end comes with the last of either kind."""
    paced, many = Paced(), views(40)
    paced.pacing.add(many)
    paced.pacing.add(many[30:32])
    dropped(paced, many[20:])
    assert (paced.finished, paced.pacing.idle) == (0, False)
    dropped(paced, many[:20])
    assert (paced.finished, paced.pacing.idle) == (1, True)
    await paced.turns(2)
    assert paced.begun == many[:20]


async def test_a_load_that_ends_at_once_is_over():
    """As with eager tasks: the load has its result before the call that asked for it returns."""
    paced = Paced(lambda view: end(paced.pacing, view))
    paced.pacing.add(views(30))
    assert (paced.finished, paced.pacing.idle) == (0, False)
    await paced.turns(1)
    assert paced.finished
    assert paced.pacing.idle


async def test_nothing_to_load_is_over():
    """A gap that concerns no view ends at once."""
    paced = Paced()
    paced.pacing.add(())
    assert (paced.finished, paced.pacing.idle) == (1, True)


async def test_the_load_that_ran_before_does_not_count():
    """Over is it when a load that began after the call has a result."""
    paced, [view] = Paced(), views(1)
    paced.pacing.add([view])
    paced.pacing.settled(view)
    assert paced.pacing.waits(view)
    end(paced.pacing, view)
    assert (paced.finished, paced.pacing.idle) == (1, True)


async def test_a_view_that_is_told_to_fail_as_it_is_loaded_again():
    """Where its entity's loads wait, asking for one tells its clients at once: then it is not waited for."""
    pacings: list[Pacing] = []

    def reload(view: View) -> None:
        view.trigger(Cause.RESYNC, 0.0)
        view.fail("load", "its entity waits")
        pacings[0].settled(view)

    paced = Paced(reload)
    pacings.append(paced.pacing)
    paced.pacing.add(views(1))
    assert paced.pacing.idle
    assert paced.finished > 0


@pytest.mark.parametrize("rate", [0.5, 1.0, 10.0, 60.0, 1_000.0])
@pytest.mark.parametrize("size", [1, 1_000])
async def test_the_rate_is_kept(rate: float, size: int):
    """However few views a second, and however many sets they come in: some at once, and that many after."""
    paced, seconds = Paced(rate=rate), 10
    many = views(min(12_000, int(rate * seconds) + 100))
    for start in range(0, len(many), size):
        paced.pacing.add(many[start : start + size])
    await paced.clock.advance(seconds)
    first = max(1, round(rate * _BETWEEN))
    assert abs(len(paced.begun) - first - rate * seconds) <= first


async def test_few_at_a_time_begin_at_once():
    """A set that finds room waits for nobody, and leaves less for the next."""
    paced, many = Paced(), views(_BATCH + 2)
    for number in range(_BATCH + 1):
        paced.pacing.add(many[number : number + 1])
    assert paced.begun == many[:_BATCH]
    await paced.turns(1)
    assert paced.begun == many[: _BATCH + 1]
    await paced.turns(1)
    paced.pacing.add(many[-1:])
    assert paced.begun == many


async def test_who_waits_since_when():
    """The oldest of each queue are told, with the moment at which they were first asked for."""
    paced = Paced(rate=1.0)
    few, many = views(3), views(20)
    paced.pacing.add(few)
    await paced.clock.advance(0.5)
    paced.pacing.add(many)
    paced.pacing.add(few)  # they keep their place, and their moment
    now = paced.clock.now()
    waiting = few[1:]
    assert list(paced.pacing.overdue(now - 0.6)) == []
    assert list(paced.pacing.overdue(now - 0.5)) == [(view, now - 0.5) for view in waiting]
    assert [view for view, _ in paced.pacing.overdue(now)] == [*waiting, few[0], *many]


def test_thousands_that_wait_are_nothing_to_the_garbage_collector():
    """Every young collection would visit them all, as long as they wait."""
    paced = Paced()
    paced.pacing.add(views(1_000))
    paced.pacing.add(views(1_000))
    queues = list(paced.pacing._waiting.values())
    assert [len(queue) for queue in queues] == [1_980]
    assert not any(gc.is_tracked(queue) for queue in queues)


async def test_a_view_that_is_no_more():
    """It is passed over, and the others have their turn."""
    paced, many = Paced(), views(_BATCH * 2)
    del _KNOWN[many[0].number]
    paced.pacing.add(many)
    await paced.turns(1)
    assert paced.begun == many[1:]
    for view in many[1:]:
        end(paced.pacing, view)
    assert paced.pacing.idle
