"""Long results are made in slices: on the loop others have turns in between, and the result is the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from entity_sync.core.loaded import Loaded
from entity_sync.loading.loader import Loader
from entity_sync.loading.rows import RowsOf
from entity_sync.loading.slices import BYTES, ROWS
from entity_sync.model import EVERYONE, EntityKey

KEY = EntityKey("lists", "1")


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "text": "x" * 20} for number in range(count)]


async def load(function: Any, pauses: list[int], **options: Any) -> Loaded:
    async def pause() -> None:
        pauses.append(1)
        await asyncio.sleep(0)

    async def in_thread(_entity: str, function: Any, *arguments: object) -> Any:
        return await asyncio.to_thread(function, *arguments)

    loader = Loader.of(
        "lists", function, per=None, public=True, timeout=5, rows=RowsOf("orders", "id"), **options
    )
    if options:
        (found,) = await loader.load_batch(
            [KEY], EVERYONE, in_thread, lambda entity, id: EntityKey(entity, str(id)), pause=pause
        )
        assert isinstance(found, Loaded)
        return found
    return await loader.load(
        KEY, EVERYONE, in_thread, lambda entity, id: EntityKey(entity, str(id)), pause=pause
    )


async def as_list(_id: str) -> list[dict[str, Any]]:
    return rows(3 * ROWS)


async def as_generator(_id: str) -> Iterator[dict[str, Any]]:
    return iter(row for row in rows(3 * ROWS))


async def as_stream(_id: str) -> AsyncIterator[dict[str, Any]]:
    for row in rows(3 * ROWS):
        yield row


async def as_batch(ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    return {id: rows(3 * ROWS) for id in ids}


def in_a_thread(_id: str) -> list[dict[str, Any]]:
    return rows(3 * ROWS)


async def test_whichever_way_rows_come_they_make_one_state_and_others_have_turns():
    """A list, a generator, a stream or a batch; what runs in a thread needs no turns."""
    pauses: list[int] = []
    whole = await load(in_a_thread, pauses)
    assert not pauses
    assert whole.size == sum(row.size for row in whole.rows)
    for function in (as_list, as_generator, as_stream):
        pauses = []
        assert (await load(function, pauses)).rows == whole.rows
        assert len(pauses) >= 3
    pauses = []
    assert (await load(as_batch, pauses, batch=10)).rows == whole.rows
    assert len(pauses) >= 3


async def test_a_few_rows_are_made_without_a_pause():
    async def few(_id: str) -> list[dict[str, Any]]:
        return rows(9)

    pauses: list[int] = []
    assert len((await load(few, pauses)).rows) == 9
    assert not pauses


async def test_a_result_of_many_bytes_is_hashed_in_a_slice_of_its_own():
    """Whoever is told of the result finds its version worked out."""

    async def few(_id: str) -> list[dict[str, Any]]:
        return [{"id": 1, "text": "x" * BYTES}]

    pauses: list[int] = []
    found = await load(few, pauses)
    assert len(pauses) == 3  # after its row, before the version and after it
    assert found._version is not None


async def test_a_list_that_its_owner_empties_between_two_slices_is_the_one_that_was_returned():
    owned = rows(3 * ROWS)

    async def shared(_id: str) -> list[dict[str, Any]]:
        return owned

    task = asyncio.create_task(load(shared, []))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    owned.clear()
    assert len((await task).rows) == 3 * ROWS


async def test_a_load_that_is_cancelled_between_two_slices_closes_the_generator():
    ended: list[str] = []

    def generated() -> Iterator[dict[str, Any]]:
        try:
            yield from rows(100 * ROWS)
        finally:
            ended.append("closed")

    async def generator(_id: str) -> Iterator[dict[str, Any]]:
        return generated()

    task = asyncio.create_task(load(generator, []))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["closed"]
