"""Forgotten notifies are found, and nothing else is taken for one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import pairwise
from math import inf
from random import Random
from typing import Any

import pytest

from entity_sync import Auditor, ConfigurationError, EntitySync, Finding, Settings
from entity_sync.model import Change, EntityKey
from entity_sync.testing import MemoryClient, connect, settled
from tests.hub.virtual import in_virtual_time


class Shop:
    """Items with a price, whose loads are counted, under an auditor that looks at all of them."""

    def __init__(
        self,
        auditor: Auditor | None = None,
        seconds: float = 0.01,
        settings: Settings | None = None,
        **options: Any,
    ) -> None:
        self.price: dict[str, int] = {}
        self.loads: list[tuple[float, str]] = []
        self.findings: list[Finding] = []
        self.seconds = seconds
        self.is_down = False
        if auditor is None:
            auditor = Auditor(share=1.0, interval=60.0, grace=5.0, on_finding=self.findings.append)
        self.sync = EntitySync(auditor=auditor, settings=settings, random=Random(1))
        self.items = self.sync.entity("items", **options)(self.load)

    async def load(self, id: str) -> dict[str, Any]:
        self.loads.append((asyncio.get_running_loop().time(), id))
        price = self.price.get(id, 0)
        await asyncio.sleep(self.seconds)
        if self.is_down:
            raise OSError("on purpose")
        return {"id": id, "price": price, "secret": f"value {price}"}


def shown(client: MemoryClient) -> list[int]:
    return [m["rows"][0]["data"]["price"] for m in client.pending() if m["event"] == "snapshot"]


def audited(minutes: float, act: Callable[[Shop], Any], **options: Any) -> Shop:
    """A shop with one watched key, after so many minutes in which something was done to it."""
    shop = Shop(**options)

    @in_virtual_time
    async def live() -> None:
        async with shop.sync, connect(shop.sync) as client:
            await client.subscribe("items", "1")
            await settled(shop.sync)
            await act(shop)
            await asyncio.sleep(minutes * 60.0)

    live()
    return shop


@in_virtual_time
async def test_forgotten_notify_is_found():
    """A commit that nobody notified is found: by entity, id, fields and age, and shown to its clients."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await asyncio.sleep(10.0)
        await client.subscribe("items", "1")
        await settled(shop.sync)
        began = shop.loads[0][0]
        assert shown(client) == [0]
        shop.price["1"] = 5
        await asyncio.sleep(130.0)
        assert shown(client) == [5]
        [finding] = shop.findings
        assert (finding.entity, finding.id, finding.fields) == ("items", "1", ("price", "secret"))
        assert finding.age == pytest.approx(shop.loads[1][0] - began)
        await asyncio.sleep(600.0)
        assert len(shop.findings) == 1  # once


def test_one_line_of_log(caplog: pytest.LogCaptureFixture):
    """A finding is one warning with names and no values, with or without anybody to call."""

    async def forget(shop: Shop) -> None:
        shop.price["1"] = 12_345

    with caplog.at_level(logging.WARNING, "entity_sync.audit"):
        audited(3, forget, auditor=Auditor(share=1.0))
    [line] = [record.getMessage() for record in caplog.records]
    assert "items/'1'" in line
    assert "price, secret" in line
    assert "12345" not in caplog.text


def test_nothing_forgotten_nothing_found():
    """Where nothing changed, or what changed was notified, there is no finding."""

    async def change(shop: Shop) -> None:
        await asyncio.sleep(200.0)
        shop.price["1"] = 5
        await shop.items.notify("1")

    shop = audited(5, change)
    assert shop.findings == []
    assert len(shop.loads) > 6


@pytest.mark.parametrize("delay", [0.0, 0.5, 3.0], ids=["during the load", "at its end", "after it"])
def test_notify_on_its_way_is_no_finding(delay: float):
    """A commit that a re-read sees before its notify has come is explained by it."""

    async def change(shop: Shop) -> None:
        await asyncio.sleep(70.0)
        shop.price["1"] = 5
        count = len(shop.loads)
        while len(shop.loads) == count:
            await asyncio.sleep(0.1)
        await asyncio.sleep(delay)
        shop.sync.node.hub.changed(Change(EntityKey("items", "1")))

    shop = audited(5, change, seconds=0.5)
    assert shop.findings == []


def test_gap_is_no_finding():
    """What a resync will load again is explained by the gap."""

    async def lose(shop: Shop) -> None:
        await asyncio.sleep(70.0)
        shop.price["1"] = 5
        count = len(shop.loads)
        while len(shop.loads) == count:
            await asyncio.sleep(0.1)
        shop.sync.node.hub.resync(["items"])

    assert audited(5, lose).findings == []


def test_refresh_is_no_finding_and_hinders_none():
    """What `refresh_every` finds is no finding; an audit finds in such an entity what it finds first."""

    async def forget(shop: Shop) -> None:
        for n in range(200):
            shop.price["1"] = n
            await asyncio.sleep(3.0)

    shop = audited(1, forget, refresh_every=20.0)
    loads, found = len(shop.loads), len(shop.findings)
    assert loads > 30
    assert 3 <= found <= 12  # of 600 s, an audit in each minute


@pytest.mark.parametrize("revision", [None, "price"])
@in_virtual_time
async def test_refresh_after_an_audit_hinders_no_finding(revision: str | None):
    """A finding stands although `refresh_every` loads the view again before it is told."""
    shop = Shop(refresh_every=4.0, revision=revision)
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await asyncio.sleep(119.999)
        shop.price["1"] = 5
        await asyncio.sleep(0.02)
        assert shown(client)[-1] == 5
        await asyncio.sleep(6.0)
        assert shop.loads[-1][0] > 123.0
        assert [finding.fields for finding in shop.findings] == [("price", "secret")]


@in_virtual_time
async def test_what_waits_for_a_paced_resync_is_no_finding():
    """Views that a gap has yet to load again are not audited: the gap explains what they differ in."""
    findings: list[Finding] = []
    auditor = Auditor(share=1.0, grace=1.0, on_finding=findings.append)
    shop = Shop(auditor, settings=Settings(resync_rate=50.0))
    ids = [str(n) for n in range(400)]
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", *ids)
        await asyncio.sleep(119.0)
        shop.price = dict.fromkeys(ids, 5)
        shop.sync.node.hub.resync()
        await asyncio.sleep(60.0)
        assert findings == []


@in_virtual_time
async def test_nothing_is_audited_while_the_broker_is_away():
    """While changes may be on their way unheard nothing is audited."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await settled(shop.sync)
        shop.sync.node._lost()
        shop.price["1"] = 5
        await asyncio.sleep(300.0)
        assert len(shop.loads) == 1


def test_off_by_default():
    """Without an auditor nothing is loaded that nobody asked for."""

    @in_virtual_time
    async def live() -> None:
        loads: list[str] = []
        sync = EntitySync()

        @sync.entity("items")
        async def items(id: str) -> dict[str, str]:
            loads.append(id)
            return {}

        async with sync, connect(sync) as client:
            await client.subscribe("items", "1")
            await asyncio.sleep(10_000.0)
            assert loads == ["1"]
            assert sync.node.hub.observe is None

    live()


@pytest.mark.parametrize(("share", "least", "most"), [(0.1, 100, 100), (0.001, 4, 20)])
def test_share_is_kept(share: float, least: int, most: int):
    """In each interval the share of the views is loaded again, spread over it, and of few views now and then
    one."""

    @in_virtual_time
    async def live() -> None:
        shop = Shop(Auditor(share=share, interval=60.0))
        async with shop.sync, connect(shop.sync) as client:
            await client.subscribe("items", *map(str, range(100)))
            await settled(shop.sync)
            shop.loads.clear()
            await asyncio.sleep(660.5 if share == 0.1 else 6_000.5)
            assert least <= len(shop.loads) <= most
            times = [time for time, _ in shop.loads]
            assert min((b - a for a, b in pairwise(times)), default=inf) > 5.0

    live()


@in_virtual_time
async def test_view_that_is_left_during_its_audit():
    """A view whose last watcher leaves while it is audited is forgotten, and a finding of it unproved."""
    shop = Shop(seconds=1.0)
    async with shop.sync:
        for pause in (0.5, 1.5):
            async with connect(shop.sync) as client:
                await client.subscribe("items", "1")
                await asyncio.sleep(2.0)
                shop.price["1"] = shop.price.get("1", 0) + 1
                count = len(shop.loads)
                while len(shop.loads) == count:
                    await asyncio.sleep(0.1)
                await asyncio.sleep(pause)
        await asyncio.sleep(200.0)
    assert shop.findings == []


@in_virtual_time
async def test_load_that_fails_is_no_finding():
    """An audit whose load fails is over: what its retry finds is no finding."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await settled(shop.sync)
        shop.price["1"], shop.is_down = 5, True
        await asyncio.sleep(125.0)
        assert "stale" in [message["event"] for message in client.pending()]
        shop.is_down = False
        await asyncio.sleep(20.0)
        assert shown(client) == [5]
        assert shop.findings == []


def test_an_async_function_is_awaited(caplog: pytest.LogCaptureFixture):
    """A coroutine function for findings runs to its end; what it raises is in the log."""
    told: list[Finding] = []

    async def tell(finding: Finding) -> None:
        await asyncio.sleep(1.0)
        told.append(finding)
        raise LookupError("on purpose")

    async def forget(shop: Shop) -> None:
        shop.price["1"] = 1

    audited(3, forget, auditor=Auditor(share=1.0, on_finding=tell))
    assert [finding.id for finding in told] == ["1"]
    assert "on_finding raised: on purpose" in caplog.text


@in_virtual_time
async def test_callback_that_raises():
    """Whatever the callback does, the auditor goes on."""
    count = 0

    def raising(_finding: Finding) -> None:
        nonlocal count
        count += 1
        raise RuntimeError("on purpose")

    shop = Shop(Auditor(share=1.0, on_finding=raising))
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", "1")
        for n in range(3):
            shop.price["1"] = n
            await asyncio.sleep(100.0)
        assert count >= 2


@pytest.mark.parametrize(
    "options",
    [
        {"share": 0},
        {"share": 1.5},
        {"interval": 0},
        {"interval": inf},
        {"grace": -1},
        {"on_finding": "print"},
    ],
)
def test_wrong_numbers(options: dict[str, Any]):
    """What cannot work is refused where it is said, by name."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Auditor(**options)
