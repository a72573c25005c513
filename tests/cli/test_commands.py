"""The commands, as a person or a script runs them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from entity_sync import AccessDenied, ConnectionInfo, EntitySync
from entity_sync.cli import main
from entity_sync.cli.output import Output
from entity_sync.cli.states import show
from entity_sync.client import Row, State
from entity_sync.client.state import StaleReason
from entity_sync.server.standalone import Listener, listen

APPLICATION = """
from entity_sync import AccessDenied, ConnectionInfo, EntitySync
sync = EntitySync("memory://{name}")
text = "not an application"

@sync.entity("items")
async def item(id: int):
    return {{"id": id}}
"""

FILING = """
from pathlib import Path
from urllib.parse import urlsplit

class FilingBroker:
    def __init__(self, url):
        self.folder = Path(urlsplit(url).path)
    async def connect(self): pass
    async def publish(self, topic, payloads):
        with Path(self.folder, f"topic-{topic}").open("ab") as file:
            file.writelines(payload + b"\\n" for payload in payloads)
    async def close(self): pass
"""


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environment)


@contextmanager
def start(*arguments: str, cwd: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A command as a process of its own, which does not outlive the test, whatever becomes of that."""
    command = [sys.executable, "-m", "entity_sync", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, cwd=cwd, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def application(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APPLICATION.format(name=tmp_path.name))
    return tmp_path


@pytest.fixture
def served(application: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with start("serve", "shop:sync", "--port", "0", cwd=application) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield process, next(word for word in line.split() if word.startswith("ws://"))


@pytest.mark.parametrize("command", [(), ("serve",), ("demo",), ("watch",), ("notify",)])
def test_help(command: tuple[str, ...]):
    """Every command explains itself, with examples."""
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output


def test_no_description_is_cut():
    """The list of commands has whole sentences on 80 columns."""
    listed = run("--help", COLUMNS="80").output.partition("Commands:")[2].partition("\n\n")[0]
    assert "..." not in listed
    assert [line[-1] for line in listed.strip().splitlines()] == ["."] * 4


def test_exit_codes_are_explained():
    """The help tells what the exit codes mean."""
    assert (
        "Exit codes: 0 done (Ctrl-C included), 1 it failed, 2 the command was wrong" in run("--help").output
    )


def test_version():
    """--version names the program and its version."""
    assert run("--version").output.startswith("entity-sync, version ")


def test_serve_and_stop(served: tuple[subprocess.Popen[str], str]):
    """`serve` says where it listens, and SIGTERM ends it in order."""
    process, url = served
    assert url.endswith("/ws/entity-sync/")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "stopped serving" in errors


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["shop"], "is not MODULE:NAME"),
        (["nowhere:sync"], "no module 'nowhere'"),
        (["shop:nothing"], "has no 'nothing'"),
        (["shop:text"], "is a str, not an EntitySync"),
        (["shop:sync", "--port", "65536"], "not in the range"),
        (["shop:sync", "--path", "live/"], "a path starts with a slash"),
    ],
)
def test_serve_names_the_mistake(application: Path, arguments: list[str], error: str):
    """A wrong target, port or path is one line that says what is wrong, and exit code 2."""
    with start("serve", *arguments, cwd=application) as process:
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (2, "")
    assert error in errors
    assert "Traceback" not in errors


def test_serve_says_when_the_port_is_taken(served: tuple[subprocess.Popen[str], str], tmp_path: Path):
    """A port in use is an error of one line that names it, and how to choose another."""
    port = served[1].split(":")[2].split("/")[0]
    (tmp_path / "other.py").write_text(APPLICATION.format(name="other"))
    with start("serve", "other:sync", "--port", port, cwd=tmp_path) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert errors.endswith(
        f"Error: cannot listen on 127.0.0.1 port {port}: it is taken. "
        "Choose another, or 0 for any that is free (--port)\n"
    )


@pytest.fixture
async def listener() -> AsyncIterator[tuple[EntitySync, Listener]]:
    sync = EntitySync()

    @sync.entity("own")
    async def own(id: str, secret: str) -> dict[str, str | int]:
        return {"secret": secret}

    async with listen(sync) as listener:
        yield sync, listener


def test_serve_logs_json(application: Path):
    """`--log-format json` makes each line of the log an object."""
    with start("serve", "shop:sync", "--port", "0", "--log-format", "json", cwd=application) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    log = [json.loads(line) for line in errors.splitlines()]
    assert process.returncode == 0
    assert log
    assert all(line.keys() >= {"time", "level", "logger", "message"} for line in log)


def test_json_log_holds_the_exception():
    """A line of the JSON log holds the traceback of what is logged with one, and stays one line."""
    program = (
        "import logging; from entity_sync.cli.logs import log_to_stderr; log_to_stderr('json')\n"
        "try: 1 / 0\nexcept ZeroDivisionError: logging.exception('a\\nb')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    [line] = done.stderr.splitlines()
    assert json.loads(line)["message"] == "a\nb"
    assert "ZeroDivisionError" in json.loads(line)["exception"]


def test_demo_says_what_to_try(tmp_path: Path):
    """`demo` names its page, its database and the exact command that changes it from outside."""
    database = tmp_path / "bakery.sqlite3"
    with start("demo", "--port", "0", "--database", str(database)) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(4)]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert "http://127.0.0.1:" in said[0]
    assert f'sqlite3 {database} "UPDATE orders SET ' in said[2]
    assert database.exists()


def test_demo_removes_its_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A demo whose terminal is closed leaves no temporary file behind."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with start("demo", "--port", "0") as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert list(tmp_path.iterdir()) != []
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "error", "code"),
    [
        (("--nodes", "3"), "3 nodes need a broker", 2),
        (("--nodes", "0"), "not in the range", 2),
        (("--broker", "kafka"), "'kafka' has no scheme", 2),
        (("--broker", "kafka"), "--broker nsq, nats, redis, postgresql, postgres alone starts a server", 2),
        (("--broker", "127.0.0.1:4150"), "did you mean nsq://127.0.0.1:4150 ?", 2),
        (("--nodes", "2", "--broker", "kafka://x"), "no broker answers to 'kafka'://", 2),
        (("--nodes", "2", "--broker", "memory://x"), "joins the nodes of one process", 2),
        (("--nodes", "2", "--broker", "nsq", "--topic-prefix", "a b"), "a topic prefix is", 2),
        (("--broker", "redis"), "redis-server is not installed: apt-get install redis-server", 1),
    ],
)
def test_demo_names_the_mistake(arguments: tuple[str, ...], error: str, code: int):
    """What cannot run is one sentence that says what to do, before anything starts."""
    result = run("demo", *arguments, PATH="/nowhere")
    assert result.exit_code == code
    assert error in " ".join(result.output.split())
    assert "serving" not in result.output


async def lines(process: asyncio.subprocess.Process, count: int) -> list[str]:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return [(await process.stdout.readline()).decode() for _ in range(count)]


async def watch(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "entity_sync", "watch", *arguments)
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, **environment}
    return await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=environment)


async def test_watch_shows_a_row(listener: tuple[EntitySync, Listener]):
    """`watch --json` writes a JSON line for each state, with the secret from the environment."""
    process = await watch(listener[1].url, "own", "7", "--json", ENTITY_SYNC_SECRET="ann")
    [line] = await lines(process, 1)
    assert json.loads(line)["event"] == "snapshot"
    assert json.loads(line)["rows"] == [{"entity": "own", "id": "7", "data": {"secret": "ann"}}]
    process.send_signal(signal.SIGTERM)
    output, errors = await process.communicate()
    assert json.loads(output)["event"] == "goodbye"
    assert (process.returncode, errors) == (0, b"")


@pytest.fixture
def counter() -> EntitySync:
    sync = EntitySync()
    loads = count(1)

    @sync.entity("counts")
    async def counts(id: int) -> dict[str, int | str]:
        return {"n": next(loads), "name": "tea"}

    return sync


async def test_watch_tells_what_changed(counter: EntitySync):
    """After the first state the text names the fields that changed, and JSON the rows as well."""
    async with listen(counter) as place:
        text = await watch(place.url, "counts", "1")
        [first] = await lines(text, 1)
        assert first.endswith(' snapshot  counts/1 {"n":1,"name":"tea"}\n')
        program = await watch(place.url, "counts", "1", "--json")
        key = {"entity": "counts", "id": "1"}
        before = json.loads((await lines(program, 1))[0])["rows"][0]["data"]["n"]
        await counter.notify("counts", 1)
        [line] = await lines(program, 1)
        after = json.loads(line)
        assert after["event"] == "change"
        assert after["changed"] == [{**key, "set": {"n": before + 1}}]
        assert after["rows"] == [{**key, "data": {"n": before + 1, "name": "tea"}}]
        shown = ""
        while not shown.endswith(f' change    ~ counts/1 {{"n":{before + 1}}}\n'):
            [shown] = await lines(text, 1)
        for process in (text, program):
            process.kill()
            await process.communicate()


def states(capsys: pytest.CaptureFixture[str], *states: State, is_json: bool = False) -> list[str]:
    """What is written of the last of these states, without the time."""
    output = Output(is_json=is_json)
    for before, state in pairwise((State(), *states)):
        capsys.readouterr()
        show(before, state, output)
    return [line if is_json else line[13:] for line in capsys.readouterr().out.splitlines()]


def listed(*rows: tuple[str, str, Any], why: StaleReason | None = None) -> State:
    return State(tuple(Row(*row) for row in rows), version=repr(rows), stale_reason=why)


ORDERS = (("orders", "1", {"s": "new"}), ("orders", "2", {"s": "new"}), ("bakers", "9", {"name": "Cay"}))


@pytest.mark.parametrize(
    ("rows", "written"),
    [
        (ORDERS[1:], ["- orders/1"]),
        ((), ["- orders/1", "- orders/2", "- bakers/9"]),
        ((*ORDERS[:2], ("bakers", "9", {"name": "Eve"})), ['~ bakers/9 {"name":"Eve"}']),
        ((*ORDERS[:2], ("bakers", "9", {})), ["~ bakers/9 {}"]),
        ((*ORDERS[:2], ("bakers", "9", 5)), ["~ bakers/9 5"]),
        ((("orders", "3", {"s": "new"}), *ORDERS), ['+ orders/3 {"s":"new"}']),
        ((ORDERS[1], ORDERS[0], ORDERS[2]), ["order orders/2 orders/1 bakers/9"]),
        ((*ORDERS, ("orders", "4 \x1b[2J", None)), ["+ 'orders/4 \\u001b[2J' null"]),
        (
            (*ORDERS, ("orders", "\u202e", "\x9b\U000e0001é")),
            [
                '+ orders/\\u202e "\\u009b\\udb40\\udc01é"',
            ],
        ),
    ],
)
def test_watch_names_the_rows_of_a_list(
    capsys: pytest.CaptureFixture[str], rows: Sequence[tuple[str, str, Any]], written: list[str]
):
    """Each row that left, came or differs is a line with its key, and so is a new order."""
    assert states(capsys, listed(*ORDERS), listed(*rows)) == [f"change    {line}" for line in written]


def test_watch_bounds_the_order(capsys: pytest.CaptureFixture[str]):
    """Of a long list the new order is told to its tenth row, and whole to programs."""
    rows = [("orders", str(n), n) for n in range(7_000)]
    moved = [rows[-1], *rows[:-1]]
    [line] = states(capsys, listed(*rows), listed(*moved))
    assert line.startswith("change    order orders/6999 orders/0 ")
    assert line.endswith(" orders/8 … and 6,990 more")
    [line] = states(capsys, listed(*rows[:10]), listed(*rows[9:10], *rows[:9]))
    assert line.endswith(" orders/8")
    [line] = states(capsys, listed(*rows), listed(*moved), is_json=True)
    assert [row["id"] for row in json.loads(line)["order"]] == [row[1] for row in moved]


def test_watch_names_them_for_programs(capsys: pytest.CaptureFixture[str]):
    """In JSON what left and what differs has its key, and is one line."""
    [line] = states(capsys, listed(*ORDERS), listed(ORDERS[1], ("orders", "3", 4)), is_json=True)
    told = json.loads(line)
    assert told["dropped"] == [{"entity": "orders", "id": "1"}, {"entity": "bakers", "id": "9"}]
    assert told["changed"] == [{"entity": "orders", "id": "3", "data": 4}]
    assert told["rows"][0] == {"entity": "orders", "id": "2", "data": {"s": "new"}}
    assert told["order"] == []


def test_watch_shows_the_rows_whole(capsys: pytest.CaptureFixture[str]):
    """First, and after a time that nobody vouches for, each row is a line; so is what came meanwhile."""
    row = 'orders/1 {"s":"new"}'
    orders, old = listed(ORDERS[0]), listed(ORDERS[0], why="broker")
    assert states(capsys, orders) == [f"snapshot  {row}"]
    assert states(capsys, listed()) == ["snapshot  no rows"]
    assert states(capsys, orders, old) == ["stale     broker"]
    assert states(capsys, old) == ["stale     broker", f"stale     {row}"]
    assert states(capsys, old, orders) == [f"snapshot  {row}"]
    assert states(capsys, State(is_denied=True, stale_reason=None), orders) == [f"snapshot  {row}"]
    assert states(capsys, State(version="x", is_gone=True, stale_reason=None)) == [
        "gone      there is no such key"
    ]


def test_watch_keeps_json_printable(capsys: pytest.CaptureFixture[str]):
    """JSON lines hold nothing that moves the cursor either, and say the same."""
    [line] = states(capsys, listed(("orders", "\x9b", {"\u202e": "\x7f\U0001d173é\\u009b"})), is_json=True)
    assert line.isprintable()
    [row] = json.loads(line)["rows"]
    assert (row["id"], row["data"]) == ("\x9b", {"\u202e": "\x7f\U0001d173é\\u009b"})


HOSTILE = "\x1b]0;owned\x07 \x9b2J"
SPELLED = "\\u001b]0;owned\\u0007 \\u009b2J"


async def test_watch_classic_of_a_hostile_server():
    """What a classic server pushes cannot move the cursor, and bytes that are no text end nothing."""

    async def handle(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(HOSTILE)
        await socket.send(b"\xff\n")
        await socket.wait_closed()

    async with serve(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        process = await watch("--classic", f"ws://127.0.0.1:{port}/", "orders", "7")
        _, text, octets = await lines(process, 3)
        assert text.endswith(f" push      {SPELLED}\n")
        assert octets.endswith(" push      \ufffd\\n\n")
        process.kill()
        await process.communicate()


@pytest.mark.parametrize("wire", [(), ("--classic",)])
async def test_watch_of_a_hostile_refusal(wire: tuple[str, ...]):
    """Nor can the text of a refused handshake."""

    def refuse(connection: ServerConnection, _request: Request) -> Response:
        return connection.respond(HTTPStatus.GONE, HOSTILE)

    async with serve(lambda _: asyncio.sleep(0), "127.0.0.1", 0, process_request=refuse) as server:
        port = server.sockets[0].getsockname()[1]
        process = await watch(f"ws://127.0.0.1:{port}/", "orders", "7", *wire)
        _, errors = await process.communicate()
    assert f"HTTP 410: {SPELLED}\nIs the server" in errors.decode()


async def test_watch_comes_back(counter: EntitySync):
    """`watch` says that what it showed is stale when the server is gone, and goes on with the next one."""
    async with listen(counter) as place:
        process = await watch(place.url, "counts", "1", "--json")
        await lines(process, 1)
    [line] = await lines(process, 1)
    assert (json.loads(line)["event"], json.loads(line)["why"]) == ("stale", "connection")
    async with listen(counter, port=place.port):
        event: dict[str, Any] = {}
        while event.get("event") != "snapshot":
            event = json.loads((await lines(process, 1))[0])
        assert event["rows"][0]["data"]["n"] > 1
        process.kill()
        await process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("environment", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
async def test_colours_in_a_terminal(
    listener: tuple[EntitySync, Listener], environment: dict[str, str], is_coloured: bool
):
    """A terminal gets colours, unless NO_COLOR is set."""
    ours, theirs = os.openpty()
    command = (sys.executable, "-m", "entity_sync", "watch", listener[1].url, "own", "7")
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = await asyncio.create_subprocess_exec(*command, stdout=theirs, env=inherited | environment)
    os.close(theirs)  # so that reading ends with the process
    shown = await asyncio.to_thread(os.read, ours, 1_000)
    process.kill()
    await process.wait()
    os.close(ours)
    assert (b"\x1b[" in shown) is is_coloured


async def test_watch_is_plain_in_a_pipe(listener: tuple[EntitySync, Listener]):
    """Without a terminal there are no colours."""
    process = await watch(listener[1].url, "own", "7")
    [line] = await lines(process, 1)
    assert "snapshot" in line
    assert "\x1b" not in line
    process.kill()
    await process.communicate()


async def test_watch_classic(listener: tuple[EntitySync, Listener]):
    """`watch --classic` shows what the classic wire pushes, row by row."""
    sync, place = listener
    process = await watch(place.url, "own", "7", "--classic", "--json", ENTITY_SYNC_SECRET="bob")
    await lines(process, 1)
    async with asyncio.timeout(20):
        while not sync.node.hub.views:
            await asyncio.sleep(0)
    await sync.notify("own", "7")
    [line] = await lines(process, 1)
    assert json.loads(line)["data"] == '{"secret":"bob"}'
    process.kill()
    await process.communicate()


async def test_watch_names_the_refusal(listener: tuple[EntitySync, Listener]):
    """An entity that does not exist is one line, and exit code 1."""
    process = await watch(listener[1].url, "nothing", "7")
    output, errors = await process.communicate()
    assert (process.returncode, output) == (1, b"")
    assert errors == b"Error: the server refused nothing/'7': unknown_entity: no such entity\n"


async def test_watch_names_a_refused_secret():
    """A secret that is refused is told with what to do about it, and not repeated."""
    sync = EntitySync()

    @sync.authenticate
    async def who(secret: str | None, connection: ConnectionInfo) -> str:
        raise AccessDenied

    async with listen(sync) as place:
        process = await watch(place.url, "own", "7", ENTITY_SYNC_SECRET="hunter2")
        output, errors = await process.communicate()
    assert (process.returncode, output) == (1, b"")
    assert b"Set ENTITY_SYNC_SECRET" in errors
    assert b"hunter2" not in errors


@pytest.mark.parametrize("wire", [(), ("--classic",)])
def test_watch_without_a_server(wire: tuple[str, ...]):
    """Where no server is, the error says so, with the URL and what to look at, and the exit code is 1."""
    result = run("watch", "ws://127.0.0.1:1/ws/", "orders", "7", *wire)
    assert result.exit_code == 1
    assert "cannot connect to ws://127.0.0.1:1/ws/" in result.output
    assert "Is the server running" in result.output


def test_watch_of_a_page():
    """A URL that is no WebSocket's is a wrong command, and the right one is proposed."""
    result = run("watch", "https://shop.example/ws/", "orders", "7")
    assert result.exit_code == 2
    assert "Did you mean wss://shop.example/ws/" in result.output


def test_secret_is_asked_for_hidden():
    """`--ask-secret` reads the secret without showing it."""
    arguments = ("watch", "ws://127.0.0.1:1/", "orders", "7", "--ask-secret")
    result = CliRunner().invoke(main, arguments, input="hunter2\n")
    assert "Secret:" in result.output
    assert "hunter2" not in result.output


@pytest.mark.parametrize("prefix", ["", "shop."])
def test_notify_reaches_a_broker(tmp_path: Path, prefix: str):
    """`notify` hands a message for each id to the broker that the URL names, and prints the receipt."""
    (tmp_path / "filing.py").write_text(FILING)
    information = tmp_path / "filing-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: filing\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[entity_sync.brokers]\nfiling = filing:FilingBroker\n")
    found = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "entity_sync", "notify", "--broker", f"filing://{tmp_path}", "orders"]
    environment = {**os.environ, "PYTHONPATH": found, "ENTITY_SYNC_TOPIC_PREFIX": prefix}
    done = subprocess.run(
        [*command, "7", "8"],
        env=environment,
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.startswith("accepted: orders/'7' orders/'8' (token ")
    published = [json.loads(line) for line in (tmp_path / f"topic-{prefix}orders").read_text().splitlines()]
    assert [(message["entity"], message["id"]) for message in published] == [("orders", "7"), ("orders", "8")]


def test_notify_refuses_memory():
    """`notify` cannot reach another process through memory, and says so."""
    result = run("notify", "--broker", "memory://", "orders", "7")
    assert result.exit_code == 2
    assert "memory:// joins the nodes of one process" in " ".join(result.output.split())


NO_KEYS = [
    (("a b", "7"), "Invalid value for ENTITY: an entity name is"),
    (("entity-sync.own", "7"), "Invalid value for ENTITY: names that begin with"),
    (("orders", "\x1b"), "Invalid value for ID: bad id for 'orders': "),
    (("orders", "x" * 257), "Invalid value for ID: bad id for 'orders': "),
]


@pytest.mark.parametrize(("key", "error"), NO_KEYS)
@pytest.mark.parametrize(
    "command", [("notify", "--broker", "nsq://127.0.0.1:1"), ("watch", "ws://127.0.0.1:1/")]
)
def test_no_key(command: tuple[str, ...], key: tuple[str, str], error: str):
    """An entity or id that no server can have is a wrong command, before anything is connected."""
    result = run(*command, *key)
    assert result.exit_code == 2
    assert error in " ".join(result.output.split())


def test_no_topic():
    """Nor can the prefix and the name be too long together."""
    result = run("notify", "--broker", "nsq://127.0.0.1:1", "--topic-prefix", "p" * 20, "e" * 60, "7")
    assert result.exit_code == 2
    assert "with the topic prefix" in " ".join(result.output.split())


def test_key_of_a_go_server():
    """On the classic wire an entity and an id may be any text."""
    result = run("watch", "--classic", "ws://127.0.0.1:1/", "a b", "")
    assert result.exit_code == 1
    assert "cannot connect" in result.output


def test_serve_names_its_signals():
    """The help of `serve` names each signal that ends it in order."""
    assert {"SIGTERM", "Ctrl-C", "SIGHUP"} <= set(re.split(r"[\s,]+", run("serve", "--help").output))


def test_notify_unknown_broker():
    """An unknown scheme is an error that names the known ones."""
    result = run("notify", "orders", "7", ENTITY_SYNC_BROKER="carrier-pigeon://loft")
    assert result.exit_code == 2
    assert "known: memory" in " ".join(result.output.split())


def test_secret_is_no_argument():
    """There is no option that would put a secret into the process list."""
    assert run("watch", "ws://127.0.0.1:1/", "orders", "7", "--secret", "x").exit_code == 2
