"""EntitySync: declaring, starting, ending."""

from __future__ import annotations

import asyncio
import operator
import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, get_args

import pytest

from entity_sync import (
    BadId,
    ConfigurationError,
    ConnectionInfo,
    Entity,
    EntityKey,
    EntitySync,
    NotRunning,
    Settings,
    UnknownEntity,
)  # fmt: skip
from entity_sync.testing import MemoryClient, connect, settled
from tests.hub.test_gaps import EchoingBroker


async def load(id: str) -> dict[str, str]:
    """One row."""
    return {"id": id}


def shop(**options: Any) -> EntitySync:
    sync = EntitySync(**options)
    sync.entity("items")(load)
    return sync


async def test_nested_uses_share_one_start():
    """Whoever enters again shares the start; the last one to leave ends it."""
    sync = shop()
    async with sync:
        node = sync.node
        async with sync.lifespan(), sync:
            assert sync.node is node
        assert sync.node is node
    with pytest.raises(NotRunning, match=r"lifespan=sync\.lifespan"):
        await sync.notify("items", "1")


async def test_started_by_two_at_once():
    """Two tasks that start it together share one node."""
    sync = shop()
    async with asyncio.TaskGroup() as group:
        entered = [group.create_task(sync.__aenter__()) for _ in range(2)]
    assert all(task.result() is sync for task in entered)
    node = sync.node
    await sync.__aexit__()
    assert sync.node is node
    await sync.__aexit__()
    with pytest.raises(NotRunning):
        _ = sync.node


def test_restarts_on_a_new_loop():
    """After its end it can be started again, on another loop, as another node."""
    sync = shop()

    async def once() -> str:
        async with sync, connect(sync) as client:
            await client.subscribe("items", "1")
            await client.receive_until("snapshot")
            return sync.node.id

    assert asyncio.run(once()) != asyncio.run(once())


def test_two_that_enter_on_a_new_loop():
    """Those that enter at once wait for one another, on the first loop and on the next."""
    sync = shop()

    async def use() -> str:
        async with sync:
            await asyncio.sleep(0)
            return sync.node.id

    async def both() -> tuple[str, str]:
        return await asyncio.gather(use(), use())

    first, second = asyncio.run(both()), asyncio.run(both())
    assert first[0] == first[1] != second[0] == second[1]


def test_loop_that_died():
    """A loop that ended without leaving does not keep it from starting on the next."""
    sync = shop()

    async def abandon() -> None:
        await sync.__aenter__()

    async def again() -> None:
        async with sync:
            await sync.notify("items", "1")

    asyncio.run(abandon())
    asyncio.run(again())


async def test_two_loops_at_once():
    """Starting it in a second loop while the first runs is a mistake that is named."""
    sync = shop()
    found: list[Exception] = []

    async def enter() -> None:
        try:
            async with sync:
                pass
        except ConfigurationError as error:
            found.append(error)

    async with sync:
        await asyncio.to_thread(lambda: asyncio.run(enter()))
    assert "another event loop" in str(found[0])


async def test_two_loops_while_it_starts():
    """So it is while the first loop still opens or closes its resources."""

    @asynccontextmanager
    async def resources(_sync: EntitySync) -> AsyncGenerator[None, None]:
        await elsewhere()
        yield
        await elsewhere()

    async def enter() -> None:
        with pytest.raises(ConfigurationError, match="another event loop"):
            async with asyncio.timeout(10), sync:
                pass

    async def elsewhere() -> None:
        await asyncio.to_thread(lambda: asyncio.run(enter()))

    sync = EntitySync(lifespan=resources)
    async with sync:
        pass


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_fork():
    """A forked child is not running, and can start a node of its own."""
    sync = shop(broker="memory://fork")
    async with sync:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:  # nothing may leave this branch
            try:
                asyncio.set_event_loop(None)
                result = b"running"
                try:
                    _ = sync.node
                except NotRunning:
                    result = b"not running"
                os.write(writer, result)
            finally:
                os._exit(0)
        os.close(writer)
        found = os.read(reader, 100)
        os.close(reader)
        os.waitpid(child, 0)
        assert found == b"not running"
        assert sync.node.is_ready


async def test_own_lifespan():
    """The application's resources are there before the first connection and go after the last."""
    told: list[str] = []

    @asynccontextmanager
    async def resources(sync: EntitySync) -> AsyncGenerator[None, None]:
        told.append(f"open {sync.node.is_ready}")
        yield
        told.append("closed")

    async with shop(lifespan=resources) as sync:
        told.append("serving")
        await sync.notify("items", "1")
    assert told == ["open True", "serving", "closed"]


async def test_failing_lifespan_leaves_nothing_running():
    """If the resources cannot be had, starting raises, nothing runs, and it can be tried again."""
    tries = 0

    @asynccontextmanager
    async def resources(_sync: EntitySync) -> AsyncGenerator[None, None]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError("no database")
        yield

    sync = shop(lifespan=resources)
    before = len(asyncio.all_tasks())
    with pytest.raises(OSError, match="no database"):
        async with sync:
            pass
    assert len(asyncio.all_tasks()) == before
    async with sync:
        pass
    assert len(asyncio.all_tasks()) == before


async def test_notify_names_mistakes():
    """An unknown entity, a wrong id, no id and a wrong revision raise, and nothing is notified."""
    sync = EntitySync()

    @sync.entity("items")
    async def item(id: int) -> None:
        """Nothing is ever there."""

    async with sync:
        with pytest.raises(UnknownEntity, match="'nothing' is not registered"):
            await sync.notify("nothing", 1)
        wrong: Any
        for wrong in ("01", "x", 1.5, None):
            with pytest.raises(BadId):
                await item.notify(wrong)
        with pytest.raises(TypeError, match="at least one id"):
            await sync.notify("items")
        for wrong in ("a", 2**53, 5.5, -1, True):
            with pytest.raises(ValueError, match="a revision is an integer from 0"):
                await item.notify(1, revision=wrong)
            with pytest.raises(ValueError, match="a revision is an integer from 0"):
                item.notify_soon(1, revision=wrong)
        assert (await sync.notify("items", 1, revision=2**53 - 1)).status == "accepted"
        assert (await sync.notify("items", 1, "2")).status == "accepted"


async def test_notify_takes_handles(caplog: pytest.LogCaptureFixture):
    """An entity is named by what registering it gave, too, and a handle shows which it is."""
    sync, other = EntitySync(), EntitySync()
    loads = 0

    @sync.entity("items")
    async def item(id: int) -> int:
        nonlocal loads
        loads += 1
        return loads

    @other.entity("others")
    async def others(id: int) -> None: ...

    assert repr(item) == "Entity('items')"
    async with sync, connect(sync) as client:
        await client.subscribe("items", "7")
        await settled(sync)
        await sync.notify(item, 7)
        await settled(sync)
        assert loads == 2
        await asyncio.wrap_future(sync.notify_soon(item, 7))
        await settled(sync)
        assert loads == 3
        with pytest.raises(UnknownEntity, match="'others' is not registered"):
            await sync.notify(others, 7)
    assert caplog.text == ""


async def test_notify_soon_from_a_thread():
    """Any thread can notify, and may wait for the receipt; mistakes raise at once."""
    sync = shop()
    item = sync.entity("others")(load)
    async with sync, connect(sync) as client:
        await client.subscribe("others", "1")
        await settled(sync)
        loads = sync.node.hub.loads.ticket
        receipts: list[Any] = []
        thread = threading.Thread(target=lambda: receipts.append(item.notify_soon("1").result(10)))
        thread.start()
        await asyncio.to_thread(thread.join)
        await settled(sync)
        assert receipts[0].status == "accepted"
        assert sync.node.hub.loads.ticket == loads + 1
        with pytest.raises(UnknownEntity):
            sync.notify_soon("nothing", "1")
    with pytest.raises(NotRunning):
        item.notify_soon("1")


async def test_handle_calls_the_loader():
    """The handle is the load function still, with its text."""
    item = shop().entity("others")(load)
    assert await item("7") == await item(id="7") == {"id": "7"}
    assert item.__doc__ == "One row."


def test_the_type_of_a_handle():
    """At run time too, as where annotations are evaluated, it may leave open what the loader gives."""
    assert get_args(Entity[int]) == (int,)
    assert get_args(Entity[int, str]) == (int, str)


async def stock(id: str, tenant: str) -> None: ...


def test_per_in_c():
    """It is taken, whether it tells what it takes or not."""
    for per in (str, operator.attrgetter("tenant")):
        EntitySync().entity("x", per=per)(stock)


def wrong_signature(sync: EntitySync) -> None:
    async def three(id: str, audience: str, more: str) -> None: ...

    sync.entity("x")(three)


def wrong_id(sync: EntitySync) -> None:
    async def by_float(id: float) -> None: ...

    sync.entity("x")(by_float)


def sync_authenticate(sync: EntitySync) -> None:
    sync.authenticate(lambda _secret, _connection: "x")  # type: ignore[arg-type,return-value]


async def one_parameter(secret: str) -> str:
    return secret


def one_parameter_authenticate(sync: EntitySync) -> None:
    sync.authenticate(one_parameter)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mistake", "error"),
    [
        (lambda sync: sync.entity("no spaces")(load), "an entity name is 1 to 64 of"),
        (lambda sync: sync.entity("x" * 65)(load), "an entity name is 1 to 64 of"),
        (lambda sync: [sync.entity("x")(load) for _ in range(2)], "'x' is registered twice"),
        (lambda sync: sync.entity("x", timeout=0)(load), "timeout must be positive"),
        (lambda sync: sync.entity("x", timeout=float("inf"))(load), "timeout must be positive, seconds"),
        (lambda sync: sync.entity("x", min_interval=-1)(load), "min_interval must be 0 or more"),
        (lambda sync: sync.entity("x", min_interval=float("nan"))(load), "min_interval must .* not nan"),
        (lambda sync: sync.entity("x", refresh_every=float("nan"))(load), "refresh_every must .* not nan"),
        (lambda sync: sync.entity("x", per=lambda user: user)(load), r"takes \(id, audience\)"),
        (lambda sync: sync.entity(load), r'write @sync.entity\("load"\)'),
        (lambda sync: sync.entity("x", per="tenant"), "per= is a function of the principal, not 'tenant'"),
        (lambda sync: sync.entity("x", per=one_parameter), "'x': per= is async, and is called without await"),
        (
            lambda sync: sync.entity("x", per=lambda user, key: user),
            r"'x': per= takes \(principal\): missing",
        ),
        (lambda sync: sync.entity("x")(lambda self, id: id), r"a loader takes \(id\), not \(self\)"),
        (lambda sync: sync.entity("x")(lambda id, session=None: id), "'session' has a default"),
        (wrong_signature, r"a loader takes \(id\) or \(id, audience\)"),
        (wrong_id, "an id is a str, an int or a UUID"),
        (lambda sync: sync.entity("x", rows=("a b", "id"))(load), "an entity name is 1 to 64 of"),
        *[
            (lambda sync, rows=rows: sync.entity("x", rows=rows)(load), f"'x': rows= .* not {text}")
            for rows, text in (
                ("orders", "'orders'"),
                (("orders",), r"\('orders',\)"),
                (("orders", 5), r"\('orders', 5\)"),
                (("orders", None), r"\('orders', None\)"),
                ((5, "id"), r"\(5, 'id'\)"),
            )
        ],
        (sync_authenticate, "authenticate must be an async function"),
        (one_parameter_authenticate, "authenticate takes 2 positional arguments"),
        (lambda _sync: EntitySync(origins=["app.example"]), "an origin is a scheme and a host"),
        (lambda _sync: Settings(max_loads=0), "max_loads must be positive"),
        (lambda _sync: Settings(alive_interval=float("inf")), "positive and finite"),
        (lambda _sync: Settings(alive_interval=float("nan")), "positive and finite"),
        (lambda _sync: Settings(beat_interval=20.0), "stale_after must exceed beat_interval"),
    ],
)
def test_mistakes_are_named(mistake: Callable[[EntitySync], object], error: str):
    """A configuration mistake raises where it is made, and says what to change."""
    with pytest.raises(ConfigurationError, match=error):
        mistake(EntitySync())


async def test_private_entity_needs_a_word():
    """With authenticate, a loader of an id alone must be declared public; it is checked at start."""
    sync = shop()

    @sync.authenticate
    async def who(secret: str | None, connection: ConnectionInfo) -> str:
        return secret or ""

    with pytest.raises(ConfigurationError, match="public=True"):
        async with sync:
            pass


async def test_a_partial_of_an_async_function():
    """It may say who clients are, and answer messages, as any async function may."""
    sync = EntitySync()

    async def who(names: dict[str, str], secret: str | None, connection: ConnectionInfo) -> str:
        return names[secret or ""]

    async def hello(word: str, message: Any) -> str:
        return f"{word} {message.principal}"

    sync.authenticate(partial(who, {"a": "ann"}))
    sync.on_message(partial(hello, "hello"))
    async with sync, connect(sync, secret="a") as client:
        await client.send({"action": "message", "ref": 1, "body": None})
        assert (await client.receive_until("message"))["body"] == "hello ann"


async def test_nothing_is_registered_while_running():
    """Registering while it runs is a mistake that is named."""
    sync = shop()
    async with sync:
        with pytest.raises(ConfigurationError, match="register everything before"):
            sync.entity("late")(load)


async def test_an_audience_of_nobody_knows_whom(caplog: pytest.LogCaptureFixture):
    """Without authenticate a secret is an audience: that is said at the start, and only then."""
    sync = EntitySync()

    @sync.entity("reports")
    async def reports(id: str, tenant: str) -> None: ...

    sync.entity("items")(load)
    assert caplog.text == ""
    async with sync:
        assert caplog.text.count("nothing says who a client is: register @sync.authenticate") == 1
        assert "entity 'reports' takes an audience" in caplog.text


def test_origins_are_a_list():
    """One origin alone would be read letter by letter."""
    with pytest.raises(ConfigurationError, match=r"origins is a list: origins=\['https://app.example'\]"):
        EntitySync(origins="https://app.example")


def test_every_origin_warns(caplog: pytest.LogCaptureFixture):
    """Allowing every page of the web is possible, and warned of."""
    EntitySync(origins=["*"])
    assert "every page of the web" in caplog.text


def test_long_ids_are_cut_in_texts():
    """A key's text shows where an id ends, escapes what it holds, and is bounded."""
    assert str(EntityKey("items", "a\nb")) == "items/'a\\nb'"
    assert len(str(EntityKey("items", "x" * 300))) < 80


async def test_entered_again_while_it_ends():
    """Whoever enters while the last one leaves gets a start of their own, that works and can be left."""
    told: list[str] = []
    may_close = asyncio.Event()

    @asynccontextmanager
    async def resources(_sync: EntitySync) -> AsyncGenerator[None, None]:
        told.append("open")
        yield
        await may_close.wait()
        told.append("closed")

    sync = shop(lifespan=resources)
    await sync.__aenter__()
    first = sync.node
    MemoryClient.of(sync)  # its goodbye takes a while
    leaving = asyncio.create_task(sync.__aexit__())
    await asyncio.sleep(0)
    entering = asyncio.create_task(sync.__aenter__())
    await asyncio.sleep(0)
    may_close.set()
    await asyncio.gather(leaving, entering)
    assert sync.node is not first
    assert (await sync.notify("items", "1")).status == "accepted"
    await sync.__aexit__()
    assert told == ["open", "closed", "open", "closed"]


async def test_resources_that_fail_to_close():
    """An error while the resources close is raised, and nothing runs afterwards."""

    @asynccontextmanager
    async def resources(_sync: EntitySync) -> AsyncGenerator[None, None]:
        yield
        raise OSError("cannot close")

    sync = shop(lifespan=resources)
    before = asyncio.all_tasks()
    with pytest.raises(OSError, match="cannot close"):
        async with sync:
            pass
    assert asyncio.all_tasks() == before
    with pytest.raises(NotRunning):
        _ = sync.node


@pytest.mark.parametrize("cancels", [1, 2])
async def test_resources_are_closed_though_the_end_is_cancelled(cancels: int):
    """Whoever waits for the end may be cancelled, twice even: the resources are closed, nothing runs on."""
    told: list[str] = []

    @asynccontextmanager
    async def resources(_sync: EntitySync) -> AsyncGenerator[None, None]:
        yield
        told.append("closed")

    broker = EchoingBroker()
    sync = shop(broker=broker, lifespan=resources)
    before = asyncio.all_tasks()
    await sync.__aenter__()
    await settled(sync)
    await sync.notify("items", "1")
    broker.carries = False  # the bye hangs
    if cancels == 2:
        MemoryClient.of(sync).close = lambda *_: None  # type: ignore[method-assign]  # the drain waits for it
    leaving = asyncio.create_task(sync.__aexit__())
    for _ in range(cancels):
        for _ in range(20):
            await asyncio.sleep(0)
        assert not leaving.done()
        leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert leaving.cancelled()
    assert told == ["closed"]
    assert asyncio.all_tasks() == before
    assert not sync.is_running


def test_notify_after_the_loop_died():
    """When its loop ended without leaving, notify_soon says that it is not running."""
    sync = shop()
    asyncio.run(sync.__aenter__())
    with pytest.raises(NotRunning):
        sync.notify_soon("items", "1")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_forked_child_starts_its_own():
    """A forked child can start a node of its own and notify, on a loop of its own."""
    sync = shop(broker="memory://fork-and-start")
    async with sync:
        child = os.fork()
        if child == 0:  # nothing may leave this branch
            code = 1
            try:
                asyncio._set_running_loop(None)

                async def main() -> str:
                    async with sync:
                        return (await sync.notify("items", "1")).status

                code = 0 if asyncio.run(main()) == "accepted" else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert (await sync.notify("items", "1")).status == "accepted"
