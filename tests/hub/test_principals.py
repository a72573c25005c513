"""Nobody else's data: who a session is, changing under way."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync import AccessDenied, ConnectionInfo, EntitySync, Settings
from entity_sync.model import Wire
from entity_sync.server.connection import Connection
from entity_sync.testing import FakeClock, MemoryClient, connect, settled
from tests.hub.held import all_but_asked
from tests.simulation.loop import run


class Reports:
    """Reports that show for whom they were loaded; loads and answers wait for the test where it says so."""

    def __init__(self, **options: Any) -> None:
        self.n = 0
        self.loads: list[str] = []
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.sync = EntitySync(**options)
        self.sync.entity("reports", per=lambda principal: principal.partition("@")[2])(self.load)
        self.sync.authenticate(self.who)

    async def load(self, id: str, tenant: str) -> dict[str, Any]:
        self.loads.append(tenant)
        row = {"tenant": tenant, "n": self.n}
        await self.may_load.wait()
        return row

    async def who(self, secret: str | None, connection: ConnectionInfo) -> str:
        await self.may_answer.wait()
        if secret is None or secret == "bad":
            raise AccessDenied
        return secret


@pytest.fixture
async def reports():
    reports = Reports()
    async with reports.sync:
        yield reports


async def say(client: MemoryClient, secret: str | None, ref: int) -> None:
    await client.send({"action": "secret", "ref": ref, "body": secret})


def brief(client: MemoryClient) -> list[Any]:
    """Every pending message in a word or two."""
    return [
        (message["event"], message["rows"][0]["data"]["tenant"]) if message.get("rows") else message["event"]
        for message in client.pending()
    ]


async def test_another_tenant(reports: Reports):
    """A new secret of another tenant: ack, then that tenant's state by a load of its own, as another view."""
    async with connect(reports.sync, secret="ann@red") as client:
        await client.subscribe("reports", "1")
        red = await client.receive_until("snapshot")
        await say(client, "bob@blue", 1)
        await settled(reports.sync)
        ack, blue = client.pending()
        assert (ack["event"], ack["ref"]) == ("ack", 1)
        assert blue["rows"][0]["data"]["tenant"] == "blue"
        assert blue["view"] != red["view"]
        assert reports.loads == ["red", "blue"]
        assert len(reports.sync.node.hub.views) == 1


async def test_same_tenant(reports: Reports):
    """A new secret of the same tenant: ack, then where each view stands, without loads and bodies."""
    async with connect(reports.sync, secret="ann@red") as client:
        await client.subscribe("reports", "1", "2")
        await settled(reports.sync)
        client.pending()
        await say(client, "bob@red", 1)
        await settled(reports.sync)
        assert brief(client) == ["ack", "current", "current"]
        assert reports.loads == ["red", "red"]


async def test_nothing_between_secret_and_ack(reports: Reports):
    """While a secret is checked no state is sent; what happened meanwhile comes after the ack, once."""
    async with connect(reports.sync, secret="ann@red") as client:
        await client.subscribe("reports", "1")
        await settled(reports.sync)
        client.pending()
        reports.may_answer.clear()
        await say(client, "bob@red", 1)
        for reports.n in (1, 2):
            await reports.sync.notify("reports", "1")
            await all_but_asked(reports.sync)
        assert client.pending() == []
        reports.may_answer.set()
        await settled(reports.sync)
        ack, snapshot = client.pending()
        assert ack["event"] == "ack"
        assert snapshot["rows"][0]["data"]["n"] == 2


async def test_load_for_the_old_tenant_is_not_shown(reports: Reports):
    """A load that runs for the old principal when the new one is admitted is given up."""
    async with connect(reports.sync, secret="ann@red") as client:
        reports.may_load.clear()
        await client.subscribe("reports", "1")
        await asyncio.sleep(0)
        await say(client, "bob@blue", 1)
        await asyncio.sleep(0)
        reports.may_load.set()
        await settled(reports.sync)
        assert brief(client) == ["ack", "ack", ("snapshot", "blue")]


class Panic(BaseException):
    """What some extension modules raise: no Exception."""


class Moving:
    """Notes for whom `per` says, asked for each of them; it raises what `raises` has for that question."""

    def __init__(self) -> None:
        self.n = 0
        self.asked: list[str] = []
        self.raises: dict[tuple[str, int], BaseException] = {}
        self.sync = EntitySync()
        self.sync.entity("reports", per=self.per)(self.load)

    def per(self, user: str) -> str:
        self.asked.append(user)
        error = self.raises.get((user, self.asked.count(user)))
        if error is not None:
            raise error
        return user

    async def load(self, id: str, user: str) -> dict[str, Any]:
        return {"tenant": user, "n": self.n}

    async def change(self) -> None:
        self.n += 1
        await self.sync.notify("reports", "1", "2")
        await settled(self.sync)


@pytest.mark.parametrize("wire", ["v2", "classic"])
async def test_per_is_asked_once_for_a_new_principal(wire: Wire):
    """What it would answer a second time, an exception for one, cannot leave the old principal's view."""
    notes = Moving()
    notes.raises["bob", 2] = RuntimeError("no connection left in the pool")
    async with notes.sync, connect(notes.sync, secret="ann", wire=wire) as client:
        await client.subscribe("reports", "1")
        await settled(notes.sync)
        await client.send({"action": "secret", "body": "bob"})
        await notes.change()
        assert notes.asked == ["ann", "bob"]
        assert [view.audience for view in notes.sync.node.hub.views] == ["bob"]
        assert '"tenant":"bob"' in client.received[-1]
        client.leave()
        assert len(notes.sync.node.hub.views) == 0


@pytest.mark.parametrize(
    "error", [RuntimeError(), AccessDenied(), asyncio.CancelledError(), Panic()], ids=repr
)
async def test_per_that_raises_for_a_new_principal(error: BaseException):
    """Whatever it is: the key is denied, the others are shown, and nothing of the old principal's is left."""
    notes = Moving()
    notes.raises["bob", 1] = error
    async with notes.sync, connect(notes.sync, secret="ann") as client:
        await client.subscribe("reports", "1", "2")
        await settled(notes.sync)
        client.pending()
        await say(client, "bob", 1)
        await settled(notes.sync)
        assert brief(client) == ["ack", "denied", ("snapshot", "bob")]
        await notes.change()
        assert brief(client) == [("snapshot", "bob")]
        client.leave()
        assert len(notes.sync.node.hub.views) == 0


@pytest.mark.parametrize("question", [1, 2])
async def test_exit_while_per_is_asked(question: int):
    """Until the process has ended, nobody is sent what was the old principal's."""
    notes = Moving()
    notes.raises["bob", question] = SystemExit()
    async with notes.sync, connect(notes.sync, secret="ann") as client:
        await client.subscribe("reports", "1", "2")
        await settled(notes.sync)
        client.pending()
        with pytest.raises(SystemExit):
            await say(client, "bob", 1)
        await notes.change()
        assert ("snapshot", "ann") not in brief(client)
        client.leave()
        assert len(notes.sync.node.hub.views) == 0


async def test_stale_before_the_other_tenant():
    """A client that was told that its load fails is told when the next principal's has succeeded."""
    clock = FakeClock()
    reports = Reports(clock=clock)

    async def load(id: str, tenant: str) -> dict[str, Any]:
        if tenant == "red":
            raise OSError("no database")
        return {"tenant": tenant}

    reports.sync = EntitySync(clock=clock)
    reports.sync.entity("reports", per=lambda principal: principal.partition("@")[2])(load)
    reports.sync.authenticate(reports.who)
    async with reports.sync, connect(reports.sync, secret="ann@red") as client:
        await client.subscribe("reports", "1")
        await clock.advance(2)
        assert brief(client) == ["ack", "stale"]
        await say(client, "bob@blue", 1)
        await clock.advance(0)
        assert brief(client) == ["ack", ("snapshot", "blue"), "fresh"]


async def test_newer_tenant_does_not_get_an_older_load(reports: Reports):
    """A state that others of the new tenant were shown long ago is not good enough: a load begins after."""
    async with (
        connect(reports.sync, secret="ann@red") as red,
        connect(reports.sync, secret="bob@blue") as blue,
    ):
        for client in (red, blue):
            await client.subscribe("reports", "1")
        await settled(reports.sync)
        reports.n = 5  # the blue view does not know yet
        red.pending()
        await say(red, "bob@blue", 1)
        await settled(reports.sync)
        _, snapshot = red.pending()
        assert snapshot["rows"][0]["data"] == {"tenant": "blue", "n": 5}


async def test_refused(reports: Reports):
    """A refused secret: one error, denied for every key, then silence, until another secret is admitted."""
    async with connect(reports.sync, secret="ann@red") as client:
        await client.subscribe("reports", "1", "2")
        await settled(reports.sync)
        client.pending()
        await say(client, "bad", 7)
        await settled(reports.sync)
        error, *denied = client.pending()
        assert (error["event"], error["code"], error["ref"]) == ("error", "denied", 7)
        assert [(one["event"], one["id"]) for one in denied] == [("denied", "1"), ("denied", "2")]
        assert len(reports.sync.node.hub.views) == 0
        await reports.sync.notify("reports", "1")
        await client.subscribe("reports", "3")
        await settled(reports.sync)
        assert brief(client) == ["ack", "denied"]
        await say(client, "bob@blue", 8)
        await settled(reports.sync)
        assert brief(client) == ["ack"] + [("snapshot", "blue")] * 3


async def test_classic_push_that_is_due(reports: Reports):
    """A push that a notify caused is not lost when a classic client becomes somebody else meanwhile."""
    async with connect(reports.sync, secret="ann@red", wire="classic") as client:
        await client.subscribe("reports", "1")
        await settled(reports.sync)
        reports.may_load.clear()
        await reports.sync.notify("reports", "1")
        await asyncio.sleep(0)
        await client.send({"action": "secret", "body": "bob@blue"})
        await asyncio.sleep(0)
        reports.may_load.set()
        await settled(reports.sync)
        assert client.pending() == [{"tenant": "blue", "n": 0}]
        await client.send({"action": "secret", "body": "ann@blue"})
        await settled(reports.sync)
        assert client.pending() == []


async def test_resync_needs_no_load(reports: Reports):
    """`resync` is answered by the view's newest state without a load; of a view not held it is an error."""
    async with connect(reports.sync, secret="ann@red") as client:
        await client.subscribe("reports", "1")
        view = (await client.receive_until("snapshot"))["view"]
        for number in (view, view + 1):
            await client.send({"action": "resync", "ref": 9, "body": {"view": number, "rev": 0}})
        await settled(reports.sync)
        found = {message["event"]: message for message in client.pending()}
        assert found["snapshot"]["view"] == view
        assert (found["error"]["code"], found["error"]["ref"]) == ("unknown_view", 9)
        assert reports.loads == ["red"]


async def hangs(secret: str | None, connection: ConnectionInfo) -> str:
    await asyncio.get_running_loop().create_future()
    return ""


async def raises(secret: str | None, connection: ConnectionInfo) -> str:
    raise LookupError(f"no such secret: {secret}")


async def returns_no_principal(secret: str | None, connection: ConnectionInfo) -> int:
    return 5


@pytest.mark.parametrize(
    ("function", "code", "retryable"),
    [(hangs, "busy", True), (raises, "busy", True), (returns_no_principal, "denied", False)],
)
async def test_authenticate_that_fails(
    function: Any, code: str, retryable: bool, caplog: pytest.LogCaptureFixture
):
    """Whatever authenticate does, the secret is answered in time, and never logged unless for debugging."""
    caplog.set_level(logging.INFO)
    clock = FakeClock()
    sync = EntitySync(clock=clock, settings=Settings(authenticate_timeout=3.0))
    sync.authenticate(function)
    async with sync, connect(sync) as client:
        await say(client, "hush", 1)
        await clock.advance(3.0)
        [error] = client.pending()
        assert (error["code"], error["retryable"], error["ref"]) == (code, retryable, 1)
        await client.send({"action": "ping"})
        assert await client.receive_until("pong") == {"event": "pong"}
        assert "hush" not in caplog.text


async def test_leaving_while_asked():
    """A client that leaves while it is being authenticated leaves nothing behind."""
    sync = EntitySync()
    sync.authenticate(hangs)
    async with sync:
        before = asyncio.all_tasks()
        client = MemoryClient.of(sync)
        await say(client, "x", 1)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() > before
        client.leave()
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == before


async def test_leaving_an_authenticate_that_goes_on():
    """One that swallows its end and answers nevertheless makes nobody of a client that is gone."""
    sync = EntitySync()

    @sync.authenticate
    async def who(secret: str | None, connection: ConnectionInfo) -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        return "ann"

    class Told(Connection):
        times = 0

        def reauthorize(self) -> None:
            Told.times += 1

    async with sync:
        connection = Told(sync.node, MemoryClient.of(sync), ConnectionInfo("v2"))
        connection.open()
        connection.receive('{"action":"secret","body":"x"}')
        await asyncio.sleep(0)
        connection.lost()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await sync.reauthorize("ann")
    assert Told.times == 0


SECRETS = st.sampled_from(["ann@red", "bob@red", "cid@blue", "dan@green", "bad"])
STEPS = st.lists(
    st.tuples(st.just("secret"), SECRETS)
    | st.tuples(st.sampled_from(["notify", "subscribe", "unsubscribe"]), st.sampled_from("12"))
    | st.tuples(st.sampled_from(["stall", "resume", "wait a little", "wait"]), st.just("")),
    max_size=30,
)


async def act(step: str, argument: str, reports: Reports, client: MemoryClient, ref: int) -> None:
    if step == "secret":
        await say(client, argument, ref)
    elif step == "notify":
        reports.n += 1
        await reports.sync.notify("reports", argument)
    elif step in ("subscribe", "unsubscribe"):
        await client.send({"action": step, "body": {"entity": "reports", "id": argument}})
    elif step == "stall":
        client.stall()
    elif step == "resume":
        client.resume()
    else:
        await asyncio.sleep(0.001 if step == "wait a little" else 0.1)


def shown_to_others(steps: list[tuple[str, str]], messages: list[Any]) -> list[Any]:
    """The states that came when somebody else, or nobody, was the last to be admitted."""
    tenants = {ref: secret.partition("@")[2] for ref, (step, secret) in enumerate(steps) if step == "secret"}
    tenant, found = None, []
    for message in messages:
        if message["event"] == "ack":
            tenant = tenants.get(message.get("ref"), tenant)
        elif message["event"] == "error":
            tenant = None
        elif message["event"] in ("current", "snapshot"):
            rows = message.get("rows") or [{"data": {"tenant": tenant}}]
            if tenant is None or rows[0]["data"]["tenant"] != tenant:
                found.append(message)
    return found


async def converse(steps: list[tuple[str, str]]) -> list[Any]:
    """Let it all happen, with loads and answers that take a while; returns what the client received."""
    reports = Reports()

    async def load(id: str, tenant: str) -> dict[str, Any]:
        row = {"tenant": tenant, "n": reports.n}
        await asyncio.sleep(0.0015)
        return row

    async def who(secret: str | None, connection: ConnectionInfo) -> str:
        await asyncio.sleep(0.001)
        if secret is None or secret == "bad":
            raise AccessDenied
        return secret

    reports.sync = EntitySync()
    reports.sync.entity("reports", per=lambda principal: principal.partition("@")[2])(load)
    reports.sync.authenticate(who)
    async with reports.sync, connect(reports.sync) as client:
        for ref, (step, argument) in enumerate(steps):
            await act(step, argument, reports, client, ref)
        client.resume()
        await asyncio.sleep(1.0)
        return client.pending()


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_no_interleaving_leaks(steps: list[tuple[str, str]]):
    """However secrets, changes, loads and slow reading interleave, nobody is shown another tenant's row."""
    messages, failures = run(converse(steps))
    assert shown_to_others(steps, messages) == []
    assert failures == []


class Masked(str):
    """A name that no log may show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Masked(***)"


@pytest.mark.parametrize("per", [None, lambda user: (user,)])
async def test_names_that_are_not_shown(per: Any):
    """Two principals whose class spells them alike do not see each other's rows."""
    sync = EntitySync()

    @sync.authenticate
    async def who(secret: str | None, connection: ConnectionInfo) -> str:
        return Masked(secret)

    @sync.entity("private", per=per)
    async def private(id: str, user: Any) -> dict[str, Any]:
        return {"of": user}

    shown: list[Any] = []
    async with sync, connect(sync, secret="ann") as ann, connect(sync, secret="bob") as bob:
        for client in (ann, bob):
            await client.subscribe("private", "1")
            await settled(sync)
            shown += [one["rows"][0]["data"]["of"] for one in client.pending() if one["event"] == "snapshot"]
    assert shown == (["ann", "bob"] if per is None else [["ann"], ["bob"]])
