"""The guides about lists, rights and tests: their code is executed, and does what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from entity_sync import ConnectionInfo, EntityKey, EntitySync, Finding, Reads, Row, UnknownEntity
from entity_sync.testing import FakeClock, MemoryClient, connect, settled
from tests.test_documents import ROOT, block, source

pytestmark = pytest.mark.source


async def shown(sync: EntitySync, client: MemoryClient) -> list[Any]:
    """What arrived once all is quiet, without the acks."""
    await settled(sync)
    return [message for message in client.pending() if message["event"] != "ack"]


def lists() -> dict[str, Any]:
    names = block("docs/lists.md", "lists")
    exec(source("docs/lists.md", "changes"), names)
    return names


async def test_lists_page():
    """A list follows what it found and what it looked at, and shows of it what its annotation names."""
    page = lists()
    sync = page["sync"]
    async with sync, connect(sync) as ann, connect(sync) as bob:
        await ann.subscribe("customer_orders", "ann")
        [snapshot] = await shown(sync, ann)
        assert snapshot["rows"] == json.loads(source("docs/lists.md", "rows"))

        await bob.subscribe("customer_orders", "bob")
        await shown(sync, bob)
        await page["move"](2, "ann")
        [moved_in] = await shown(sync, ann)
        assert [row["id"] for row in moved_in["rows"]] == ["1", "2", "9"]
        [moved_out] = await shown(sync, bob)
        assert (moved_out["rows"], moved_out["gone"]) == ([], False)

        await page["rename"](9, "Dot")
        [renamed] = await shown(sync, ann)
        assert renamed["rows"][2]["data"] == {"name": "Dot"}
        assert await shown(sync, bob) == []


async def test_lists_count():
    """The page's count follows orders that it does not hold, as they come and leave."""
    page = lists()
    sync = page["sync"]
    async with sync, connect(sync) as client:
        for customer in ("ann", "bob"):
            await client.subscribe("order_counts", customer)
        assert [message["rows"][0]["data"] for message in await shown(sync, client)] == [{"orders": 1}] * 2
        await page["move"](2, "ann")
        counts = {message["id"]: message["rows"][0]["data"] for message in await shown(sync, client)}
        assert counts == {"ann": {"orders": 2}, "bob": {"orders": 0}}


@pytest.mark.parametrize(
    ("tags", "news"),
    [
        ({"customer": "ann", "status": "new"}, 1),
        ({"customer": "ann", "status": ["baked", "new"]}, 1),
        ({"customer": "ann", "status": "lost"}, 0),
        ({"customer": "bob", "status": "new"}, 0),
    ],
)
async def test_lists_tags(tags: dict[str, object], news: int):
    """Of the page's `Reads` with two tags both match, any value of a list does; without a tag all rows do."""
    sync, loads = EntitySync(), count()
    [reads] = re.findall(r"`(Reads\(.*status=.*?\))`, ", (ROOT / "docs" / "lists.md").read_text())

    @sync.entity("some", rows=("orders", "id"))
    async def some(id: str) -> AsyncIterator[object]:
        yield eval(reads, {"Reads": Reads})
        yield {"id": next(loads)}

    @sync.entity("all", rows=("orders", "id"))
    async def every(id: str) -> AsyncIterator[object]:
        yield Reads("orders")
        yield {"id": next(loads)}

    async with sync, connect(sync) as client:
        for entity in ("some", "all"):
            await client.subscribe(entity, "x")
        await shown(sync, client)
        await sync.notify("orders", 100, tags=tags)
        entities = [message["entity"] for message in await shown(sync, client)]
        assert (entities.count("some"), entities.count("all")) == (news, 1)


async def test_lists_order():
    """The same rows in another order are news."""
    sync, ids = EntitySync(), ["2", "1"]

    @sync.entity("lists", rows=("orders", "id"))
    async def lists(id: str) -> list[dict[str, str]]:
        return [{"id": each} for each in ids]

    async with sync, connect(sync) as client:
        await client.subscribe("lists", "x")
        for expected in (["2", "1"], ["1", "2"]):
            [message] = await shown(sync, client)
            assert [row["id"] for row in message["rows"]] == expected
            ids.reverse()
            await sync.notify("lists", "x")


async def loaded(what: list[object] | None, **options: Any) -> Any:
    """The snapshot of a loader that yields this."""
    sync = EntitySync()

    @sync.entity("lists", **options)
    async def lists(id: str) -> AsyncIterator[object]:
        for each in what or ():
            yield each

    async with sync, connect(sync) as client:
        await client.subscribe("lists", "x")
        return await client.receive_until("snapshot")


@pytest.mark.parametrize(
    ("what", "is_gone"),
    [([], False), ([Reads("lists")], False), ([None], True), ([Reads("lists"), None], True)],
)
async def test_lists_gone_or_empty(what: list[object], is_gone: bool):
    """No row is an empty list, and None says that there is no such key."""
    snapshot = await loaded(what)
    assert (snapshot["rows"], snapshot["gone"]) == ([], is_gone)


@pytest.mark.parametrize(("track", "news"), [(True, 1), (False, 0)])
async def test_lists_track(track: bool, news: int):
    """A change of a row that rides along loads the list again, unless it is not tracked."""
    sync, names = EntitySync(), {"9": "Cay"}

    @sync.entity("reports")
    async def report(id: str) -> AsyncIterator[object]:
        yield {"title": "Bread"}
        yield Row("users", "9", {"name": names["9"]}, track=track)

    @sync.entity("users")
    async def user(id: str) -> dict[str, str]:
        return {"name": names[id]}

    async with sync, connect(sync) as client:
        await client.subscribe("reports", "x")
        [snapshot] = await shown(sync, client)
        assert snapshot["rows"][0] == {"data": {"title": "Bread"}}
        names["9"] = "Dot"
        await user.notify("9")
        assert len(await shown(sync, client)) == news


@pytest.mark.parametrize(("value", "news"), [(["ann", "bob"], 1), (["bob"], 0), ([7], 0)])
async def test_lists_counts_need_the_old_value(value: list[object], news: int):
    """A count does not hold what it counted, so only its tag tells that a row has left."""
    sync, owners = EntitySync(), ["ann"]

    @sync.entity("counts")
    async def count(customer: str) -> AsyncIterator[object]:
        yield Reads("orders", customer=customer)
        yield owners.count(customer)

    @sync.entity("orders")
    async def order(id: int) -> int:
        return id

    async with sync, connect(sync) as client:
        await client.subscribe("counts", "ann")
        await shown(sync, client)
        owners[0] = "bob"
        await order.notify(1, tags={"customer": value})
        assert len(await shown(sync, client)) == news
        await order.notify(1, tags={"costumer": "bob"})
        assert len(await shown(sync, client)) == 1 - news


async def test_lists_names_that_may_be_notified():
    """A row may ride along under any name; what is notified is registered, or named in a rows=."""
    sync = EntitySync()

    @sync.entity("reports", rows=("chapters", "id"))
    async def report(id: str) -> list[object]:
        return [{"id": 1}, Row("users", 9, {"name": "Cay"})]

    async with sync, connect(sync) as client:
        await client.subscribe("reports", "x")
        [snapshot] = await shown(sync, client)
        assert [row["entity"] for row in snapshot["rows"]] == ["chapters", "users"]
        await sync.notify("chapters", 1)
        with pytest.raises(UnknownEntity):
            await sync.notify("users", 9)


async def answers(sync: EntitySync, secret: str, *keys: tuple[str, str]) -> list[object]:
    """What a client with this secret is told of each key: the rows' data, or why there is none."""
    async with connect(sync, secret=secret) as client:
        for key in keys:
            await client.subscribe(*key)
        told = {(message["entity"], message["id"]): message for message in await shown(sync, client)}
    return [_told(told[key]) for key in keys]


def _told(message: dict[str, Any]) -> object:
    if message["event"] != "snapshot":
        return message["event"]
    return "gone" if message["gone"] else message["rows"][0]["data"]


async def test_rights_page():
    """Each of the page's entities is for whom it says, and a loader's AccessDenied looks like gone."""
    page = block("docs/rights.md", "rights")
    keys = [("prices", "tea"), ("orders", "1"), ("orders", "2"), ("stock", "flour"), ("notes", "ann")]
    async with page["sync"] as sync:
        assert await answers(sync, "a-token", *keys) == [
            {"price": 4},
            {"owner": "ann", "status": "new"},
            "denied",
            {"of": "north"},
            {"text": "buy flour"},
        ]
        assert await answers(sync, "b-token", *keys) == [
            {"price": 4}, "denied", "denied", {"of": "south"}, "gone",
        ]  # fmt: skip


async def test_rights_of_a_row_before_it_exists():
    """Who asks too early is denied; of a notify they hear nothing, of reauthorize the row."""
    page = block("docs/rights.md", "rights")
    async with page["sync"] as sync, connect(sync, secret="b-token") as bob:
        await bob.subscribe("orders", "2")
        assert [message["event"] for message in await shown(sync, bob)] == ["denied"]
        page["orders"][2] = {"owner": "bob", "status": "new"}
        await page["order"].notify(2)
        assert await shown(sync, bob) == []
        await sync.reauthorize("bob")
        assert [message["event"] for message in await shown(sync, bob)] == ["snapshot"]


async def test_rights_cookie():
    """A cookie signs in without a message; who has neither is denied until a secret comes."""
    page = block("docs/rights.md", "rights")
    cookie = ConnectionInfo("v2", cookies={"token": "a-token"})
    async with page["sync"] as sync, connect(sync, info=cookie) as ann, connect(sync) as nobody:
        await ann.subscribe("orders", "1")
        assert [message["event"] for message in await shown(sync, ann)] == ["snapshot"]
        await nobody.subscribe("orders", "1")
        assert [message["event"] for message in await shown(sync, nobody)] == ["denied"]
        await nobody.send({"action": "secret", "body": "a-token"})
        assert [message["event"] for message in await shown(sync, nobody)] == ["snapshot"]


async def test_rights_expiry(entity_sync_clock: FakeClock):
    """A minute before the end the client is told, and 25 s after it, it is nobody."""
    sync = EntitySync(clock=entity_sync_clock)
    end = datetime.fromtimestamp(entity_sync_clock.wall(), UTC) + timedelta(hours=1)

    @sync.authenticate
    async def who(secret: str | None, connection: ConnectionInfo) -> SimpleNamespace:
        return SimpleNamespace(key="ann", expires_at=end)

    @sync.entity("prices", public=True)
    async def price(id: str) -> int:
        return 4

    async with sync, connect(sync, secret="s") as client:
        await client.subscribe("prices", "tea")
        await shown(sync, client)
        await entity_sync_clock.advance(3_540)
        assert (await client.receive_until("expiring"))["in_ms"] == 60_000
        await entity_sync_clock.advance(85)
        assert (await client.receive_until("denied"))["id"] == "tea"


async def test_rights_asked(entity_sync_clock: FakeClock):
    """Authorize is asked at subscribe, at reauthorize, of whoever comes, from time to time; by no notify."""
    sync = EntitySync(clock=entity_sync_clock)
    asked: list[tuple[object, object]] = []

    @sync.authenticate
    async def who(secret: str | None, connection: ConnectionInfo) -> str:
        return secret or ""

    def authorize(user: str, key: EntityKey) -> bool:
        asked.append((user, key.id))
        return True

    @sync.entity("orders", authorize=authorize)
    async def order(id: int) -> int:
        return len(asked)

    async with sync, connect(sync, secret="ann") as client:
        await client.subscribe("orders", "7")
        await shown(sync, client)
        assert asked == [("ann", "7")]
        await order.notify(7)
        await shown(sync, client)
        assert len(asked) == 1
        await sync.reauthorize("ann")
        await shown(sync, client)
        assert len(asked) == 2
        await client.send({"action": "secret", "body": "bob"})
        await shown(sync, client)
        assert asked[2:] == [("bob", "7")]
        await entity_sync_clock.advance(60)
        assert len(asked) == 4


@pytest.mark.parametrize("verdict", ["reauthorize", "revoke"])
async def test_rights_change(verdict: str):
    """Reauthorize asks with the principal of the sign-in; revoke ends that, until a secret comes."""
    page = block("docs/rights.md", "rights")
    async with page["sync"] as sync, connect(sync, secret="a-token") as ann:
        await ann.subscribe("orders", "1")
        await ann.subscribe("stock", "flour")
        await shown(sync, ann)
        page["orders"][1]["owner"] = "bob"
        page["tenants"]["ann"] = "west"
        await getattr(sync, verdict)("ann")
        denied = [message["entity"] for message in await shown(sync, ann)]
        assert denied == (["orders"] if verdict == "reauthorize" else ["orders", "stock"])
        await ann.send({"action": "secret", "body": "a-token"})
        rows = [message["rows"] for message in await shown(sync, ann) if message["event"] == "snapshot"]
        assert rows == [[{"data": {"of": "west"}}]]


def run_tests(folder: Path, *names: str) -> tuple[int, str]:
    """Run these modules of docs/testing.md against the README's application, as their reader would."""
    for name in ("pytest.ini", *names):
        (folder / name).write_text(source("docs/testing.md", name))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *names]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_testing_page(tmp_path: Path):
    """The page's tests pass as they stand, without a warning."""
    (tmp_path / "main.py").write_text(source("README.md", "main.py"))
    (tmp_path / "rights.py").write_text(source("docs/rights.md", "rights"))
    (tmp_path / "factory.py").write_text(source("docs/testing.md", "factory.py"))
    names = re.findall(r"<!-- file: (test_\w+\.py) -->", (ROOT / "docs" / "testing.md").read_text())
    code, output = run_tests(tmp_path, *names)
    assert code == 0, output
    assert "6 passed" in output
    assert "Warning" not in output


def test_testing_page_finds_a_forgotten_notify(tmp_path: Path):
    """Without the notify of the application, the page's first test fails where it says so."""
    text = source("README.md", "main.py")
    notify = "    await price.notify(name)  # after the commit\n"
    assert notify in text
    (tmp_path / "main.py").write_text(text.replace(notify, ""))
    code, output = run_tests(tmp_path, "test_main.py")
    assert code == 1, output
    assert re.search(r"^> +\[news\] = client\.pending\(\)", output, re.MULTILINE), output


def test_testing_page_names_a_forgotten_notify(tmp_path: Path):
    """Without the notify of the factory's route, the auditor's test fails with the key and the field."""
    text = source("docs/testing.md", "factory.py")
    notify = "        await price.notify(name)  # after the commit\n"
    assert notify in text
    (tmp_path / "factory.py").write_text(text.replace(notify, ""))
    code, output = run_tests(tmp_path, "test_forgotten.py")
    assert code == 1, output
    assert "Finding(entity='prices', id='tea', fields=('price',)" in output


@pytest.mark.parametrize(("environment", "finds"), [("development", True), ("production", False)])
async def test_auditor_while_developing(
    environment: str, finds: bool, entity_sync_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
):
    """The page's setting finds within seconds what was forgotten of five views, the default does not."""
    monkeypatch.setenv("SHOP_ENVIRONMENT", environment)
    setting = block("docs/testing.md", "development")["sync"]._auditor
    found: list[Finding] = []
    sync = EntitySync(
        clock=entity_sync_clock, random=Random(1), auditor=replace(setting, on_finding=found.append)
    )
    values = {"1": 0, "2": 0, "3": 0, "4": 0, "5": 0}

    @sync.entity("items")
    async def item(id: str) -> int:
        return values[id]

    async with sync, connect(sync) as client:
        await client.subscribe("items", *values)
        await settled(sync)
        await entity_sync_clock.advance(4.0)
        values.update(dict.fromkeys(values, 1))
        await entity_sync_clock.advance(5.0)
        assert {finding.id for finding in found} == (set(values) if finds else set())
