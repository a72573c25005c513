"""A loader that raises AccessDenied: whoever asks is told what is told of a key that there is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from entity_sync import AccessDenied, EntitySync, Reads
from entity_sync.testing import MemoryClient, connect, settled
from tests.hub.virtual import in_virtual_time

_NUMBER = {"bob": 7}


async def one(id: str, user: str) -> dict[str, Any]:
    if id != user:
        raise AccessDenied
    return {"n": _NUMBER[id]}


async def many(ids: list[str], user: str) -> dict[str, Any]:
    return {id: {"n": _NUMBER[id]} if id == user else AccessDenied() for id in ids}


async def raising(ids: list[str], user: str) -> dict[str, Any]:
    if ids != [user]:
        raise AccessDenied
    return {id: {"n": _NUMBER[id]} for id in ids}


async def halfway(id: str, user: str) -> AsyncIterator[Any]:
    yield Reads("notes", owner=id)
    yield await one(id, user)


async def watch(client: MemoryClient, *ids: str, version: str | None = None) -> None:
    await client.subscribe("notes", *ids, version=version, causes=True)


def told(client: MemoryClient, number: dict[int, str], id: str) -> list[Any]:
    """What was said of this key so far, without its name."""
    found: list[Any] = []
    for message in client.pending():
        if "id" in message and "view" in message:
            number[message["view"]] = message["id"]
        named = number.get(message.get("view", -1), message.get("id"))
        if named == id:
            found.append({name: message[name] for name in message if name not in ("view", "id", "age_ms")})
    return found


@pytest.mark.parametrize("revision", [None, 9])
@pytest.mark.parametrize("version", [None, "another"])
@pytest.mark.parametrize("load", [one, many, raising, halfway], ids=lambda load: load.__name__)
def test_forbidden_is_absent(load: Any, version: str | None, revision: int | None):
    """No notify of it is told, neither one from before nor one from now, nor is a replica waited for."""

    @in_virtual_time
    async def check() -> None:
        seen: dict[str, list[Any]] = {}
        for id in ("bob", "nobody"):
            sync = EntitySync()
            options: dict[str, Any] = {"batch": 10} if load in (many, raising) else {}
            options |= {"revision": "n"} if revision else {}
            sync.entity("notes", per=lambda user: user, **options)(load)
            async with sync, connect(sync, secret="ann") as ann, connect(sync, secret="ann") as later:
                number: dict[int, str] = {}
                await sync.notify("notes", "bob", revision=revision)
                await watch(ann, id, version=version)
                await asyncio.sleep(20.0)
                await sync.notify("notes", "bob", revision=revision and revision + 1)
                await asyncio.sleep(20.0)
                await watch(later, id)
                await asyncio.sleep(20.0)
                seen[id] = [told(ann, number, id), told(later, {}, id)]
        assert seen["bob"] == seen["nobody"]
        assert [message["gone"] for message in seen["bob"][0]] == [True]

    check()


@in_virtual_time
async def test_what_is_permitted_later():
    """The load that finds what may be seen now covers the notify that led to it, and those before."""
    allowed = {"bob"}
    sync = EntitySync()

    @sync.entity("notes", per=lambda user: user)
    async def note(_id: str, user: str) -> dict[str, Any]:
        if user not in allowed:
            raise AccessDenied
        return {"n": 1}

    async with sync, connect(sync, secret="ann") as ann:
        await watch(ann, "bob")
        await settled(sync)
        first = await sync.notify("notes", "bob")
        await settled(sync)
        assert [message["event"] for message in ann.pending()] == ["ack", "snapshot"]
        allowed.add("ann")
        second = await sync.notify("notes", "bob")
        await settled(sync)
        shown, current = ann.pending()
        assert (shown["gone"], current["causes"]) == (False, [first.token, second.token])


@in_virtual_time
async def test_an_older_right():
    """A denial that a replica may have given too late is looked at again when it has what was notified."""
    may_see = False
    sync = EntitySync()

    @sync.entity("notes", per=lambda user: user, revision="n")
    async def note(_id: str, _user: str) -> dict[str, Any]:
        if not may_see:
            raise AccessDenied
        return {"n": 9}

    async with sync, connect(sync, secret="ann") as ann:
        await watch(ann, "bob")
        await asyncio.sleep(20.0)
        receipt = await sync.notify("notes", "bob", revision=9)
        await asyncio.sleep(1.0)
        may_see = True
        ann.pending()
        await asyncio.sleep(2.0)
        shown, current = ann.pending()
        assert (shown["rows"][0]["data"], current["causes"]) == ({"n": 9}, [receipt.token])


@in_virtual_time
async def test_deleted_is_an_answer():
    """None says that there is no such key: a notify of it is covered, as whoever deleted it waits for."""
    rows: dict[str, Any] = {"1": {"n": 1}}
    sync = EntitySync()

    @sync.entity("notes")
    async def note(id: str) -> Any:
        return rows.get(id)

    async with sync, connect(sync) as client:
        await watch(client, "1")
        await settled(sync)
        client.pending()
        del rows["1"]
        receipt = await sync.notify("notes", "1")
        await settled(sync)
        gone, current = client.pending()
        assert (gone["gone"], current["causes"]) == (True, [receipt.token])


@pytest.mark.parametrize("is_gone", [False, True], ids=["seen again", "gone"])
@in_virtual_time
async def test_denied_after_it_was_seen(is_gone: bool):
    """Neither who asks for causes then nor who sends another secret is told the notifies from before; they
    come with the rows, should they be seen again.
    """
    answer: Any = {"n": 1}
    sync = EntitySync()

    @sync.entity("notes", public=True)
    async def note(_id: str) -> Any:
        if answer is AccessDenied:
            raise AccessDenied
        return answer

    async with sync, connect(sync) as client, connect(sync) as later:
        await watch(client, "bob")
        await settled(sync)
        seen = await sync.notify("notes", "bob")
        await settled(sync)
        answer = AccessDenied
        hidden = await sync.notify("notes", "bob")
        await settled(sync)
        client.pending()
        await client.send({"action": "secret", "body": "ann"})
        await watch(later, "bob")
        await settled(sync)
        assert [message["event"] for message in client.pending()] == ["ack", "current"]
        assert [message["event"] for message in later.pending()] == ["ack", "snapshot"]
        answer = None if is_gone else {"n": 2}
        last = await sync.notify("notes", "bob")
        await settled(sync)
        causes = [last.token] if is_gone else [seen.token, hidden.token, last.token]
        for each in (client, later):
            assert [message["causes"] for message in each.pending() if "causes" in message] == [causes]


@pytest.mark.parametrize("is_early", [False, True], ids=["late", "early"])
@in_virtual_time
async def test_gone_after_it_was_denied(is_early: bool):
    """Whoever asks for causes early or late is told the notify of its end, and none of those before."""
    answer: Any = AccessDenied
    sync = EntitySync()

    @sync.entity("notes")
    async def note(_id: str) -> Any:
        if answer is not None:
            raise answer
        return None

    async with sync, connect(sync) as other, connect(sync) as client:
        await other.subscribe("notes", "bob")
        if is_early:
            await watch(client, "bob")
        await settled(sync)
        for _ in range(3):
            await sync.notify("notes", "bob")
            await settled(sync)
        await watch(client, "bob")
        await settled(sync)
        assert not any(message.get("causes") for message in client.pending())
        answer = None
        end = await sync.notify("notes", "bob")
        await settled(sync)
        assert [message.get("causes") for message in client.pending()] == [[end.token]]
