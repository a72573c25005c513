"""The stand-alone server: its start, its address, and the signals that end it."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import textwrap
from contextlib import asynccontextmanager

import pytest

from entity_sync import ConfigurationError, EntitySync
from entity_sync.errors import MissingExtra
from entity_sync.server.standalone import Listener, end_signals, listen, run
from tests.server.direct.board import Board
from tests.server.direct.raw import CLOSE, PATIENCE, V2, connected, dial, request

PROGRAM = """
    import sys
    from contextlib import asynccontextmanager
    from entity_sync import EntitySync
    from entity_sync.server.standalone import run

    @asynccontextmanager
    async def lifespan(sync):
        print("entered", flush=True)
        yield
        print("left", flush=True)

    sync = EntitySync(lifespan=lifespan)

    @sync.entity("items")
    async def items(id: str):
        return {"id": id}

    run(sync, port=0, uvloop=UVLOOP, on_ready=lambda listener: print(listener.port, flush=True))
    print("returned", flush=True)
"""


@asynccontextmanager
async def serving(uvloop):
    """The program in a process of its own, and the listener that it says it has."""
    program = textwrap.dedent(PROGRAM).replace("UVLOOP", str(uvloop))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert await line(process) == "entered"
        yield process, Listener("127.0.0.1", int(await line(process)), "/ws/entity-sync/")
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode().rstrip()


@pytest.mark.parametrize("uvloop", [False, None])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_asks_for_an_orderly_end(number, uvloop):
    """Each of them: goodbye, close 1012, the application's lifespan is left, the process ends with 0."""
    async with serving(uvloop) as (process, listener), connected(listener, V2) as client:
        process.send_signal(number)
        await client.event("goodbye")
        got = await client.frame()
        assert (got.opcode, got.payload[:2]) == (CLOSE, (1012).to_bytes(2, "big"))
        client.send_frame(CLOSE, got.payload[:2])
        assert [await line(process), await line(process)] == ["left", "returned"]
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
        assert await process.stderr.read() == b""


def test_nohup():
    """A SIGHUP that whoever started the process has ignored asks for nothing."""
    assert signal.SIGHUP in end_signals()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert end_signals() == [signal.SIGTERM, signal.SIGINT]
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("uvloop", [False, None])
async def test_a_second_signal_ends_at_once(uvloop):
    """While a client does not answer the close, a second signal ends the process without waiting for it."""
    async with serving(uvloop) as (process, listener), connected(listener, V2) as client:
        process.send_signal(signal.SIGTERM)
        await client.event("goodbye")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 4) == -signal.SIGTERM


async def test_a_taken_port():
    """A port that is taken is a clear error, before anything starts."""
    started = []

    @asynccontextmanager
    async def lifespan(sync):
        started.append(sync)
        yield

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1 port {port}: it is taken") as error:
            async with listen(EntitySync(lifespan=lifespan), port=port):
                pass
    assert started == []
    assert "--" not in str(error.value)  # nor does it speak of a command's options


@pytest.mark.parametrize("wrong", [{"port": 70_000}, {"host": "256.1.1.1"}, {"path": "ws"}], ids=str)
async def test_a_wrong_address(wrong):
    """An address that cannot be is a clear error."""
    with pytest.raises(ConfigurationError):
        async with listen(EntitySync(), **wrong):
            pass


async def test_a_start_that_fails_frees_the_port(board, held_port):
    """When the application cannot start, nobody was served, and the port is free again."""

    @asynccontextmanager
    async def lifespan(_sync):
        raise OSError("no database")
        yield

    with pytest.raises(OSError, match="no database"):
        async with listen(EntitySync(lifespan=lifespan), port=held_port):
            pass
    async with listen(board.sync, port=held_port) as listener:
        assert listener.port == held_port


async def test_its_own_path():
    """The path of the WebSocket can be chosen, and is matched exactly."""
    async with listen(Board().sync, path="/live") as listener:
        assert listener.url == f"ws://127.0.0.1:{listener.port}/live"
        for path, status in [("/live", 101), ("/live/", 404), ("/ws/entity-sync/", 404)]:
            async with dial(listener) as client:
                assert (await client.ask(request(path))).status == status


def test_an_ipv6_url():
    """An IPv6 address stands in brackets in the URL."""
    assert Listener("::1", 80, "/x").url == "ws://[::1]:80/x"


def test_uvloop_that_is_missing(monkeypatch):
    """Asking for uvloop where it is not installed is an error that names the extra."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(MissingExtra, match="uvloop"):
        run(EntitySync(), uvloop=True)


async def test_no_frame_and_no_header_is_logged(caplog):
    """Even at the lowest level no log holds what clients send: it may be a secret."""
    with caplog.at_level("DEBUG"), caplog.at_level("DEBUG", "entity_sync.websocket"):
        async with listen(Board().sync) as listener, connected(listener, V2, x_token="s3cret") as client:
            client.send({"action": "secret", "body": "s3cret"})
            await client.event("ack")
    assert caplog.records
    assert "s3cret" not in caplog.text


async def test_one_line_at_start_and_one_at_stop(caplog):
    """The log has one line when it starts and one when it stops, none per connection."""
    with caplog.at_level("DEBUG", "entity_sync"):
        async with listen(Board().sync) as listener:
            for subprotocol in (None, V2):
                async with connected(listener, subprotocol) as client:
                    await client.until_pong()
        lines = [record.getMessage() for record in caplog.records if record.name != "asyncio"]
    assert lines == [f"serving {listener.url}", f"stopped serving {listener.url}"]
