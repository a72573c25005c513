"""Ten thousand short lives of one client, in which loads, rights and principals change in any order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from entity_sync import AccessDenied, ConnectionInfo, EntityKey, EntitySync
from entity_sync.core.outbox import Outbox
from entity_sync.hub.hub import Hub
from entity_sync.hub.principals import Holder, Principals
from entity_sync.server.connection import Connection
from entity_sync.server.watching import Watching
from entity_sync.testing import MemoryClient
from tests.simulation.loop import run


class Judge(MemoryClient):
    """A client that looks at every state as it is written: whose is it, and may they see it then?"""

    def __init__(self, sync: EntitySync, gate: Gate) -> None:
        super().__init__(sync, ConnectionInfo("v2"))
        self.gate = gate
        self.who: str | None = None
        self.secrets: dict[Any, str | None] = {}
        self.views: dict[int, tuple[str, str]] = {}
        self.shown = 0
        self.wrong: list[str] = []
        self._connection.open()

    def write(self, frames: list[Any]) -> None:
        super().write(frames)
        for message in self.pending():
            self.judge(message)

    def judge(self, message: dict[str, Any]) -> None:
        event = message["event"]
        if event == "ack":
            self.who = self.secrets.get(message.get("ref"), self.who)
        elif event == "error" and message["code"] != "unknown_view":
            self.who = None
        elif event in ("snapshot", "current", "delta"):
            self.shown += 1
            if "entity" in message:
                self.views[message["view"]] = message["entity"], message["id"]
            entity, id = self.views[message["view"]]
            if self.who is None or self.who in self.gate.out:
                self.wrong.append(f"{event} of {entity}/{id} to nobody, or to the revoked {self.who}")
            elif entity == "orders" and (self.who, id) in self.gate.closed:
                self.wrong.append(f"{event} of {entity}/{id} to {self.who}, who may not see it")
            tenants = {row["data"]["tenant"] for row in message.get("rows", ()) if entity == "reports"}
            tenants |= {put["data"]["tenant"] for put in message.get("put", ()) if entity == "reports"}
            if tenants - {self.who and self.who[-1]}:
                self.wrong.append(f"{event} of {entity}/{id} of {tenants} to {self.who}")


class Gate:
    """What the application allows.

    Attributes:
        out: revoked; closed: (user, id) that was forbidden, and the node was told.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.out: set[str] = set()
        self.closed: set[tuple[str, str]] = set()
        self.n = 0
        self.sync = EntitySync(random=Random(random.random()))
        self.sync.entity("orders", authorize=self.authorize)(self.load)
        self.sync.entity("reports", per=lambda user: user[-1])(self.report)
        self.sync.authenticate(self.who)

    async def wait(self) -> None:
        for _ in range(self.random.choice((0, 0, 1, 3))):
            await asyncio.sleep(self.random.choice((0, 0.001, 0.004)))

    async def authorize(self, user: str, key: EntityKey) -> bool:
        answer = (user, key.id) not in self.closed
        await self.wait()
        return answer

    async def load(self, id: str) -> dict[str, Any]:
        row = {"n": self.n}
        await self.wait()
        return row

    async def report(self, id: str, tenant: str) -> dict[str, Any]:
        row = {"n": self.n, "tenant": tenant}
        await self.wait()
        return row

    async def who(self, secret: str | None, connection: ConnectionInfo) -> str:
        is_out = secret is None or secret in self.out
        await self.wait()
        if is_out:
            raise AccessDenied
        assert secret is not None
        return secret


USERS = ["ann@r", "bob@r", "cid@b"]
IDS = ["1", "2"]


async def _act(gate: Gate, client: Judge, ref: int) -> Judge:
    random, sync = gate.random, gate.sync
    user, id = random.choice(USERS), random.choice(IDS)
    match random.randrange(10):
        case 0 | 1:
            client.secrets[ref] = user
            await client.send({"action": "secret", "ref": ref, "body": user})
        case 2 | 3:
            wanted = {"entity": random.choice(["orders", "reports"]), "id": id}
            await client.send({"action": "subscribe", "ref": ref, "body": wanted})
        case 4:
            gate.out.add(user)
            await sync.revoke(user)
        case 5:
            gate.out.discard(user)
        case 6:
            gate.closed.symmetric_difference_update({(user, id)})
            await sync.reauthorize(user)
        case 7:
            client.leave()
            wrong, shown = client.wrong, client.shown
            client = Judge(sync, gate)
            client.wrong, client.shown = wrong, shown
            client.secrets[ref] = user
            await client.send({"action": "secret", "ref": ref, "body": user})
        case 8 if random.random() < 0.2:
            sync.node._resync(None)  # as after a gap
        case _:
            gate.n += 1
            await sync.notify(random.choice(["orders", "reports"]), id)
    return client


async def _interleave(seed: int) -> tuple[list[str], int]:
    gate = Gate(Random(seed))
    async with gate.sync:
        client = Judge(gate.sync, gate)
        for ref in range(gate.random.randrange(5, 30)):
            client = await _act(gate, client, ref)
            await gate.wait()
        await asyncio.sleep(0.1)
        client.leave()
    return client.wrong, client.shown


def explore(worlds: int) -> tuple[list[str], int]:
    """What was wrong in the first world that is wrong, and how many states were shown until then."""
    logging.disable(logging.WARNING)
    shown = 0
    try:
        for seed in range(worlds):
            (wrong, count), failures = run(_interleave(seed))
            shown += count
            if wrong or failures:
                return [f"world {seed}", *wrong, *map(str, failures)], shown
    finally:
        logging.disable(logging.NOTSET)
    return [], shown


@pytest.mark.slow
def test_ten_thousand_interleavings():
    """Loads, revocations, changed secrets and rights, reconnects and gaps: no row to a wrong principal."""
    wrong, shown = explore(10_000)
    assert wrong == []
    assert shown > 15_000


def _trusts_old_answers(patch: pytest.MonkeyPatch) -> None:
    """Who a client is was asked before a revocation, and is believed after it."""
    patch.setattr(Principals, "doubt", lambda _self: None)

    def enter(self: Principals, holder: Holder, key: str) -> bool:
        self._asked.pop(holder, None)
        return real(self, holder, key)

    real = Principals.enter
    patch.setattr(Principals, "enter", enter)


def _ends_nobody(patch: pytest.MonkeyPatch) -> None:
    """A revocation reaches only those who are being asked."""
    patch.setattr(Connection, "end", lambda _self: None)


def _withholds_nothing(patch: pytest.MonkeyPatch) -> None:
    """States flow while it is asked whether they may."""
    real = Watching._decide
    patch.setattr(Watching, "_decide", lambda self, watched, withhold=False: real(self, watched))


def _believes_the_first_answer(patch: pytest.MonkeyPatch) -> None:
    """An older question goes on beside the newer one."""
    patch.setattr(Watching, "_ask_no_more", staticmethod(lambda _watched: None))

    async def wait(self: Watching, watched: Any, question: Any) -> None:
        self._decided(watched, is_granted=await question.wait())

    patch.setattr(Watching, "_wait", wait)


def _keeps_the_rows(patch: pytest.MonkeyPatch) -> None:
    """The subscription of an earlier principal stays."""
    patch.setattr(Hub, "rebind", lambda _self, subscription, _principal: subscription)


def _sends_while_undecided(patch: pytest.MonkeyPatch) -> None:
    """Between a secret and its ack the old principal's states flow."""
    patch.setattr(Outbox, "suspended", property(lambda _self: False, lambda _self, _value: None))


@pytest.mark.parametrize(
    "variant",
    [
        _trusts_old_answers,
        _ends_nobody,
        _withholds_nothing,
        _believes_the_first_answer,
        _keeps_the_rows,
        _sends_while_undecided,
    ],
    ids=lambda variant: variant.__name__.strip("_"),
)
def test_wrong_variant_is_caught(
    variant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
):
    """Each rule of rights is needed: without it some world shows a row to somebody who may not see it."""
    variant(monkeypatch)
    wrong, _shown = explore(2_000)
    assert wrong
