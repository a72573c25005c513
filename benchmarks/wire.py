"""Bytes of a typical change on the wire, beside those of the whole state: what a delta saves."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from math import ceil
from random import Random
from typing import Any
from uuid import UUID

import msgspec

from benchmarks.report import Report
from entity_sync import EntitySync
from entity_sync.client.incoming import Delta, Snapshot, decode
from entity_sync.client.rows import applied
from entity_sync.client.state import Row
from entity_sync.model import EntityKey
from entity_sync.testing import MemoryClient, connect, settled

__all__ = ["DESCRIPTION", "EXAMPLE", "add_options", "run"]

DESCRIPTION = __doc__
EXAMPLE = "python -m benchmarks wire --rows 200"
_SHARE = 0.15  # of the snapshot, for a change of one field of 20
_SHORT = "order of 20 short fields, one changes"
_NAMES = ["Amber", "Birch", "Cedar", "Dale", "Ember", "Fjord", "Glade", "Heath", "Ivory", "Jade"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """This benchmark's own options."""
    parser.add_argument("--rows", type=int, default=200, help="of the list (default 200)")


def run(options: argparse.Namespace, report: Report) -> None:
    """Run it."""
    asyncio.run(_run(options, report))


async def _run(options: argparse.Namespace, report: Report) -> None:
    random = Random(options.seed)
    order, ticket = _order(random, 1), _ticket(random, 1)
    orders = [_line(random, id) for id in range(options.rows)]
    changes: list[tuple[str, str, float | None, Callable[[], object]]] = [
        ("orders", _SHORT, None, lambda: order.update(status="shipped")),
        ("tickets", "ticket of 20 fields, one changes", _SHARE, lambda: ticket.update(status="solved")),
        ("lists", f"{options.rows} rows, one more", 0.03, lambda: orders.insert(3, _line(random, 10**6))),
        ("lists", f"{options.rows} rows, one field", 0.03, lambda: orders[9].update(status="shipped")),
        ("lists", f"{options.rows} rows, one fewer", 0.03, lambda: orders.pop(17)),
    ]
    sync = EntitySync(random=Random(options.seed))
    sync.entity("orders")(_loader(lambda: order))
    sync.entity("tickets")(_loader(lambda: ticket))
    sync.entity("lists", rows=("orders", "id"))(_loader(lambda: orders))
    async with sync, connect(sync) as client:
        for entity, what, share, change in changes:
            whole, part, is_right = await _measure(sync, client, entity, change)
            report.row(change=what, snapshot=whole, delta=part, share=f"{part / whole:.1%}")
            report.check(is_right, f"{what}: the rows after the delta are those of a new snapshot")
            if share is None:  # too short for the goal of long rows: an envelope is as long for all
                report.note(f"{what}: {part} bytes are {_SHARE:.0%} of {ceil(part / _SHARE)}")
            else:
                report.goal(f"% of the snapshot, {what}", 100 * part / whole, 100 * share)


async def _measure(
    sync: EntitySync, client: MemoryClient, entity: str, change: Callable[[], object]
) -> tuple[int, int, bool]:
    before, _ = await _snapshot(sync, client, entity)
    change()
    await sync.notify(entity, "1")
    await settled(sync)
    frame = client.received[-1]
    (delta,) = decode(frame)
    after, whole = await _snapshot(sync, client, entity)
    is_right = isinstance(delta, Delta) and applied(EntityKey(entity, "1"), before, delta) == after
    return whole, _framed(frame), is_right


async def _snapshot(sync: EntitySync, client: MemoryClient, entity: str) -> tuple[tuple[Row, ...], int]:
    await client.send({"action": "subscribe", "body": {"entity": entity, "id": "1"}})
    await settled(sync)
    (message,) = decode(client.received[-1])
    assert isinstance(message, Snapshot)
    return tuple(Row(row.entity or entity, row.id or "1", row.data) for row in message.rows), _framed(
        client.received[-1]
    )


def _framed(text: str) -> int:
    """Bytes of a server's WebSocket frame: RFC 6455 §5.2, not masked."""
    size = len(text.encode())
    return size + (2 if size < 126 else 4 if size < 65_536 else 10)


def _order(random: Random, id: int) -> dict[str, object]:
    """An order as shops keep them, of 20 fields."""
    name = f"{random.choice(_NAMES)} {random.choice(_NAMES)}"
    return {
        "id": id,
        "reference": f"ORD-2026-{random.randrange(10**6):06}",
        "customer_id": str(UUID(int=random.getrandbits(128), version=4)),
        "customer_name": name,
        "email": f"{name.lower().replace(' ', '.')}@mail.example",
        "phone": f"+44 20 {random.randrange(10**8):08}",
        "street": f"{random.randrange(1, 200)} {random.choice(_NAMES)} Street",
        "postcode": f"SW{random.randrange(1, 20)} {random.randrange(1, 9)}AB",
        "city": random.choice(_NAMES),
        "country": "United Kingdom",
        "status": "packed",
        "currency": "GBP",
        "net": random.randrange(10**5) / 100,
        "tax": random.randrange(10**4) / 100,
        "weight_grams": random.randrange(10**4),
        "carrier": "royal-mail",
        "tracking_url": f"https://track.mail.example/parcels/{random.getrandbits(64):016x}",
        "note": f"Please leave it with {random.choice(_NAMES)} next door, or ring twice.",
        "created_at": f"2026-11-{random.randrange(1, 29):02}T09:12:44.127Z",
        "updated_at": f"2026-11-{random.randrange(1, 29):02}T17:40:01.500Z",
    }


def _ticket(random: Random, id: int) -> dict[str, object]:
    """A ticket as help desks keep them, of 20 fields, one of which is what a customer wrote."""
    names = [f"{random.choice(_NAMES)} {random.choice(_NAMES)}" for _ in range(2)]
    return {
        "id": id,
        "uuid": str(UUID(int=random.getrandbits(128), version=4)),
        "subject": f"The {random.choice(_NAMES)} lamp that I ordered arrived without its plug",
        "description": f"Hello, yesterday {random.choice(_NAMES)} came, well packed and in one piece, "
        "but there is no plug at the end of its cable, only three bare wires. Is one missing in the box, "
        "or do I have to buy it? I would rather not send the lamp back. Thank you for your help!",
        "requester_id": str(UUID(int=random.getrandbits(128), version=4)),
        "requester_name": names[0],
        "requester_email": f"{names[0].lower().replace(' ', '.')}@mail.example",
        "assignee_id": str(UUID(int=random.getrandbits(128), version=4)),
        "assignee_name": names[1],
        "team": "returns",
        "channel": "email",
        "language": "en-GB",
        "priority": "normal",
        "status": "open",
        "tags": ["lamp", "missing-part"],
        "order_reference": f"ORD-2026-{random.randrange(10**6):06}",
        "messages": random.randrange(20),
        "satisfaction": None,
        "created_at": f"2026-11-{random.randrange(1, 29):02}T09:12:44.127Z",
        "updated_at": f"2026-11-{random.randrange(1, 29):02}T17:40:01.500Z",
    }


def _line(random: Random, id: int) -> dict[str, object]:
    """What a list shows of one: 7 fields."""
    names = ("id", "reference", "customer_name", "city", "status", "net", "created_at")
    order = _order(random, id)
    return {name: order[name] for name in names}


def _loader(read: Callable[[], object]) -> Callable[[int], Any]:
    async def load(_id: int) -> Any:
        return msgspec.convert(msgspec.to_builtins(read()), Any)

    return load
