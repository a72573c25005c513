"""What stands in the log by default: where something failed, and neither a secret nor what is in a row."""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from typing import Any

import pytest

from entity_sync import ConnectionInfo, EntityKey, EntitySync, Row
from entity_sync.hub.outcomes import _Notes
from entity_sync.testing import FakeClock, connect, settled
from tests.hub.virtual import in_virtual_time

HUSH = "hush-4711"


class Kind(Enum):
    HUSH = HUSH


async def logged(sync: EntitySync[Any], caplog: pytest.LogCaptureFixture, keys: int = 1) -> list[str]:
    """The lines of the log, with their tracebacks, after somebody with a secret subscribed to keys."""
    async with sync, connect(sync) as client:
        await client.send({"action": "secret", "body": HUSH})
        await client.subscribe("items", *range(keys))
        await client.receive_until("ack")
        await settled(sync)
    found = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return [logging.Formatter().format(record) for record in found]


async def load(id: str) -> Any:
    return {"id": id}


def lookup(secret: str) -> str:
    return {"known": "north"}[secret]


async def test_a_secret_in_what_per_raised(caplog: pytest.LogCaptureFixture):
    """The log names the error and its place, for the first keys of many; its text is for debugging only."""
    caplog.set_level(logging.DEBUG, "entity_sync")
    sync = EntitySync()

    @sync.entity("items", per=lookup)
    async def item(id: str, tenant: str) -> str:
        return id + tenant

    lines = [line for line in await logged(sync, caplog, keys=1_000) if "denied" in line]
    assert len(lines) == 10  # 1, 2, 4 … 512
    assert "per= raised KeyError at " in lines[0]
    assert f"{__file__}:" in lines[0]
    assert "(its text is logged at DEBUG)" in lines[0]
    assert HUSH not in "".join(lines)
    assert HUSH in caplog.text


async def test_a_secret_in_what_authenticate_raised(caplog: pytest.LogCaptureFixture):
    """The log names the error and its place."""
    sync = EntitySync()
    sync.entity("items", public=True)(load)

    @sync.authenticate
    async def who(secret: str | None, connection: ConnectionInfo) -> str:
        return lookup(secret or "")

    lines = "".join(await logged(sync, caplog))
    assert f"authenticate raised KeyError at {__file__}:" in lines
    assert HUSH not in lines


async def test_a_secret_in_what_authorize_raised(caplog: pytest.LogCaptureFixture):
    """The log names the error and its place, and what is wrong with an answer."""
    sync = EntitySync()

    def may(principal: str, key: EntityKey) -> Any:
        return lookup(principal) if key.id == "0" else HUSH

    sync.entity("items", authorize=may)(load)
    lines = await logged(sync, caplog, keys=2)
    assert f"authorize of items/'0' failed, which denies it: KeyError at {__file__}:" in lines[-2]
    assert "authorize of items/'1' failed, which denies it: it returned a str, not a bool" in lines[-1]
    assert HUSH not in "".join(lines)


PLACES = """
from sqlalchemy import make_url
async def who(secret, connection):
    return find(secret)
def find(secret):
    return {library}(secret)
"""


@pytest.mark.parametrize(
    ("file", "library", "line"),
    [
        ("/app/shop.py", "make_url", 6),
        ("/app/shop.py", "__import__('json').loads", 6),
        ("/usr/lib/python3/dist-packages/shop.py", "make_url", 4),
    ],
    ids=["library", "standard library", "an installed application"],
)
async def test_what_a_library_raised(file: str, library: str, line: int, caplog: pytest.LogCaptureFixture):
    """The log names the application's own line that called it, and where the text is."""
    caplog.set_level(logging.DEBUG, "entity_sync")
    sync = EntitySync()
    sync.entity("items", public=True)(load)
    names: dict[str, Any] = {}
    exec(compile(PLACES.replace("{library}", library), file, "exec", dont_inherit=True), names)
    sync.authenticate(names["who"])
    lines = "".join(await logged(sync, caplog))
    assert f"Error at {file}:{line} (its text is logged at DEBUG)" in lines
    assert HUSH not in lines
    debugging = [record for record in caplog.records if record.levelno == logging.DEBUG and record.exc_info]
    assert [record.getMessage() for record in debugging] == ["authenticate raised"]


def number(row: dict[str, Any]) -> int:
    return int(row["n"])


@pytest.mark.parametrize(
    ("value", "options", "said"),
    [
        ({"n": HUSH}, {"revision": number}, "revision= finds none: ValueError at "),
        ({"n": HUSH}, {"revision": "n"}, "revision= finds a str, which is no integer"),
        ({"m": HUSH}, {"revision": "n"}, "revision= finds none: KeyError, looking for 'n'"),
        ([{"n": HUSH}], {"rows": ("items", number)}, "has no id: ValueError at "),
        ([{"m": HUSH}], {"rows": ("items", "n")}, "has no id: KeyError, looking for 'n'"),
        ({"x": {(HUSH, 1): 1}}, {}, "field 'x' has a name that is a tuple"),
        (
            {"x": {HUSH: 1, Kind.HUSH: 1}},
            {},
            "field 'x' has two names, a str and a Kind, that are one in JSON",
        ),
        (Row({"n": HUSH}, 1, 1), {}, "the entity of a Row is of type dict"),  # type: ignore[arg-type]
        ({"x": {"y": object()}, "z": HUSH}, {}, "field 'x.y' is an object"),
        (bytes(f'{{"x": {HUSH}}}', "ascii"), {}, "not JSON"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_what_is_in_a_row(value: Any, options: Any, said: str, caplog: pytest.LogCaptureFixture):
    """What cannot be sent is told by field and type, never by value."""
    sync = EntitySync()

    @sync.entity("items", **options)
    async def item(_id: str) -> Any:
        return value

    lines = "".join(await logged(sync, caplog))
    assert said in lines
    assert HUSH not in lines


async def test_what_a_batch_answered(caplog: pytest.LogCaptureFixture):
    """Names of a wrong type are told by that type."""
    sync = EntitySync()

    @sync.entity("items", batch=10)
    async def items(_ids: list[str]) -> Any:
        return {(HUSH, 1): 1}

    lines = "".join(await logged(sync, caplog))
    assert "returned a key of type tuple" in lines
    assert HUSH not in lines


async def test_what_a_loader_raised(caplog: pytest.LogCaptureFixture):
    """It is shown with its traceback: without that nobody could repair it."""
    sync = EntitySync()

    @sync.entity("items")
    async def item(_id: str) -> Any:
        raise LookupError("no such table")

    async with sync, connect(sync) as client:
        await client.subscribe("items", "1")
        await client.receive_until("stale")
    assert "LookupError: no such table" in caplog.text
    assert "Traceback" in caplog.text


@in_virtual_time
async def test_a_client_cannot_fill_the_log(caplog: pytest.LogCaptureFixture):
    """However many ids it asks for, with others that load between them, what fails alike is told 1, 2, 4, 8 …
    times; what fails otherwise, or later, at once."""
    sync = EntitySync()

    @sync.entity("items")
    async def item(id: str) -> int:
        return {"one": 1}[id] if id == "late" else int(id)

    def lines() -> list[str]:
        found = [record.getMessage() for record in caplog.records if "failed" in record.getMessage()]
        caplog.clear()
        return found

    async with sync, connect(sync) as client:
        for turn in range(10):
            ids = [f"{kind}{n}" for n in range(100) for kind in (f"x{turn}", "1")]
            await client.subscribe("items", *ids)
            await asyncio.sleep(2.0)
            await client.send(
                {"action": "unsubscribe", "body": [{"entity": "items", "id": id} for id in ids]}
            )
            await asyncio.sleep(2.0)
        told = lines()
        assert len(told) == 10  # 1, 2, 4 … 512
        assert told[-1].endswith(" (512 of items like it so far)")
        await client.subscribe("items", "late")
        await asyncio.sleep(10.0)
        assert [line.split(": ", 1)[1] for line in lines()] == ["KeyError: 'late'"]
        await asyncio.sleep(600.0)
        await client.subscribe("items", "x")
        await asyncio.sleep(10.0)
        assert len(lines()) == 1


async def test_failures_of_very_many_kinds_are_counted_together():
    """So what is kept of them is bounded; it begins anew after ten minutes."""
    clock = FakeClock()
    notes = _Notes(clock)
    await clock.advance(600.0)
    for number in range(1_024):
        assert notes.count(number) == 1
    assert [notes.count(reason) for reason in ("one", "another", "one")] == [1, 2, 3]
    assert notes.count(7) == 2
    await clock.advance(599.9)
    assert notes.count(7) == 3
    await clock.advance(0.1)
    assert [notes.count(reason) for reason in (7, "one", 7)] == [1, 1, 2]
