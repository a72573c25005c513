"""Hearing oneself through the broker: when a link counts as carrying."""

from __future__ import annotations

import asyncio

import pytest

from entity_sync import BrokerUnavailable
from entity_sync.hub.echo import Echo
from entity_sync.testing import FakeClock


class Link:
    """What an echo sends, and what the link says of itself; every number comes back while `carries`."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.sent: list[int] = []
        self.carries = True
        self.is_up = True
        self.first = 0
        self.echo = Echo(self.clock, 5.0, 2.0, self.send)

    async def send(self, number: int) -> None:
        self.sent.append(number)
        if self.carries:
            self.echo.heard(number)

    def confirmed(self) -> None:
        self.first += 1

    def watch(self) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(self.echo.watch(self.confirmed, lambda: self.is_up))


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_interval_apart():
    """A number is sent at once and then each interval; the first that comes back confirms the link, once."""
    link = Link()
    watching = link.watch()
    await link.clock.advance(4.9)
    assert (len(link.sent), link.first) == (1, 1)
    await link.clock.advance(10.2)
    assert (len(link.sent), link.first) == (4, 1)
    assert link.echo.confirmed == pytest.approx(15.0)
    await end(watching)


async def test_a_late_number_vouches_for_no_newer_one():
    """What was sent into a link that died comes back through the next one: that proves nothing of it."""
    link = Link()
    link.carries = False
    first = link.watch()
    await link.clock.advance(2.0)
    with pytest.raises(BrokerUnavailable):
        await first
    second = link.watch()
    await link.clock.advance(1.0)
    link.echo.heard(link.sent[0])
    await link.clock.advance(0.5)
    assert link.first == 0
    link.echo.heard(link.sent[1])
    await link.clock.advance(0)
    assert (link.first, link.echo.confirmed) == (1, 2.0)
    await end(second)


async def test_a_link_that_says_it_is_down_is_left_alone():
    """While the link says that it is down nothing is sent; an interval after it is back, a number is."""
    link = Link()
    watching = link.watch()
    await link.clock.advance(1.0)
    link.is_up = False
    await link.clock.advance(20.0)
    assert len(link.sent) == 1
    link.is_up = True
    await link.clock.advance(5.0)
    assert len(link.sent) == 2
    assert not watching.done()
    await end(watching)


@pytest.mark.parametrize("is_up_then", [True, False])
async def test_a_number_that_never_comes_back(is_up_then: bool):
    """It ends a link that says it is up; one that went down meanwhile is told by itself."""
    link = Link()
    watching = link.watch()
    await link.clock.advance(4.9)
    link.carries = False
    await link.clock.advance(0.2)
    link.is_up = is_up_then
    await link.clock.advance(1.8)
    assert not watching.done()
    await link.clock.advance(0.2)
    assert watching.done() is is_up_then
    await end(watching)
