"""The Go original's WebSocket contract, line by line; each docstring says which line it holds."""

from __future__ import annotations

import json

import pytest

from entity_sync import Settings
from entity_sync.testing import FakeClock
from tests.classic.shop import open_shop
from tests.server.direct.raw import BINARY, CLOSE, PING, PONG, TEXT, Frame, dial, frame, pushes, request

SUBSCRIBE = '{"action":"subscribe","body":{"entity":"items","id":"1"}}'
UNSUBSCRIBE = '{"action":"unsubscribe","body":{"entity":"items","id":"1"}}'
ROW = {"entity": "items", "id": "1"}


async def asked(shop, raw):
    async with dial(shop.listener) as client:
        return await client.ask(raw)


# The handshake


@pytest.mark.parametrize(
    "path", ["/ws/entity-sync", "/ws/entity-sync/x", "/ws/entity-sync//", "/WS/entity-sync/", "/"]
)
async def test_other_paths_are_404(shop, path):
    """The path is exactly /ws/entity-sync/; without the slash or with a suffix: 404."""
    assert (await asked(shop, request(path))).status == 404


async def test_a_query_is_no_part_of_the_path(shop):
    """The path is exact; a query behind it changes nothing."""
    assert (await asked(shop, request("/ws/entity-sync/?a=/b"))).status == 101


async def test_plain_get_is_400(shop):
    """Plain GET: 400."""
    raw = b"GET /ws/entity-sync/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert (await asked(shop, raw)).status == 400


@pytest.mark.parametrize(
    "offer",
    [
        {},
        {"sec_websocket_extensions": "permessage-deflate; client_max_window_bits"},
        {"sec_websocket_protocol": "chat, superchat"},
        {"sec_websocket_protocol": "entity-sync.v2.msgpack"},
    ],
    ids=["nothing", "deflate", "other subprotocols", "reserved subprotocol"],
)
async def test_upgrade_answers_three_headers(shop, offer):
    """The upgrade answers only the 3 mandatory headers: no subprotocol, no deflate even if offered."""
    answer = await asked(shop, request(**offer))
    assert answer.headers == [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", "ICX+Yqv66kxgM0FcWaLWlFLwTAI="),
    ]


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        (None, "shop.example:8080", 101),
        ("http://shop.example:8080", "shop.example:8080", 101),
        ("https://shop.example:8080", "shop.example:8080", 101),
        ("app://shop.example:8080", "shop.example:8080", 101),
        ("http://SHOP.example:8080", "shop.example:8080", 101),
        ("http://evil.example", "shop.example:8080", 403),
        ("http://shop.example", "shop.example:8080", 403),
        ("http://shop.example:8081", "shop.example:8080", 403),
        ("http://shop.example:8080.evil.example", "shop.example:8080", 403),
        ("null", "shop.example:8080", 403),
        ("http://[::1", "shop.example:8080", 403),
        ("", "shop.example:8080", 403),
    ],
)
async def test_origin(shop, origin, host, status):
    """An Origin whose host (with its port) differs from Host gets 403; a missing one passes, any scheme does,
    null does not."""
    headers = {"host": host} if origin is None else {"host": host, "origin": origin}
    assert (await asked(shop, request(**headers))).status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS"])
async def test_upgrade_by_another_method_is_405(shop, method):
    """An upgrade that is not GET is 405."""
    assert (await asked(shop, request(method=method))).status == 405


@pytest.mark.parametrize(
    "raw",
    [
        request(drop=("sec-websocket-key",)),
        request(sec_websocket_key="short"),
        request(sec_websocket_version="8"),
        request(drop=("sec-websocket-version",)),
        request(drop=("upgrade",)),
        request(connection="keep-alive"),
        request(upgrade="h2c"),
    ],
    ids=["no key", "bad key", "version 8", "no version", "no upgrade", "no connection", "h2c"],
)
async def test_a_bad_upgrade_is_400(shop, raw):
    """A missing key or another version: 400."""
    assert (await asked(shop, raw)).status == 400


# Actions and frames


async def test_a_row_is_a_bare_text_frame(shop, client):
    """Server to client: only what the load returned, one text frame per row, unmasked, unfragmented, bare."""
    shop.rows["items", "1"] = b'{ "b": 1.50,\n "a" : "\xc3\xa9" }'
    client.send(SUBSCRIBE)
    await pushes(shop.sync, client)
    await shop.sync.notify("items", "1")
    assert await client.frame() == Frame(
        TEXT, b'{ "b": 1.50,\n "a" : "\xc3\xa9" }', fin=True, is_masked=False
    )


@pytest.mark.parametrize("action", ["Subscribe", "SUBSCRIBE", "subscribe ", "sub"])
async def test_actions_are_case_sensitive(shop, client, action):
    """Actions are case-sensitive."""
    client.send({"action": action, "body": {"entity": "items", "id": "1"}})
    assert await shop.pushed(client) == []


async def test_unsubscribe(shop, client):
    """`unsubscribe` ends what `subscribe` began."""
    client.send(SUBSCRIBE)
    assert await shop.pushed(client) == [ROW]
    client.send(UNSUBSCRIBE)
    assert await shop.pushed(client) == []


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("cuts", [[], [1], [5, 5, 20], list(range(1, len(SUBSCRIBE)))], ids=len)
async def test_text_and_binary_whole_and_in_fragments(shop, client, opcode, cuts):
    """Text or binary frames are accepted alike, and fragmented messages are; a ping may come between."""
    data = SUBSCRIBE.encode()
    ends = [*cuts, len(data)]
    starts = [0, *cuts]
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        client.send_frame(opcode if number == 0 else 0, data[start:end], fin=end == len(data))
        if number == 0 and cuts:
            client.send_frame(PING, b"between")
            assert await client.frame() == Frame(PONG, b"between")
    assert await shop.pushed(client) == [ROW]


@pytest.mark.parametrize("pieces", [1, 2, 64])
@pytest.mark.parametrize("excess", [0, 1])
async def test_size_limit(pieces, excess):
    """512 bytes (the sum of the fragments) pass, 513 close with 1009 and an empty reason."""
    async with open_shop(settings=Settings(max_message=512)) as shop, shop.connected() as client:
        data = SUBSCRIBE.encode().ljust(512 + excess)
        step = -(-len(data) // pieces)
        for start in range(0, len(data), step):
            client.send_frame(0 if start else TEXT, data[start : start + step], fin=start + step >= len(data))
        if excess:
            assert await client.closing() == (1009, "")
        else:
            assert await shop.pushed(client) == [ROW]


async def test_a_ping_between_fragments_is_no_part_of_the_sum():
    """The limit is the sum of the fragments: a ping between two of them does not count."""
    async with open_shop(settings=Settings(max_message=512)) as shop, shop.connected() as client:
        data = SUBSCRIBE.encode().ljust(512)
        client.send_frame(TEXT, data[:510], fin=False)
        client.send_frame(PING, b"x" * 125)
        assert await client.frame() == Frame(PONG, b"x" * 125)
        client.send_frame(0, data[510:])
        assert await shop.pushed(client) == [ROW]


async def test_invalid_utf8_is_not_refused(shop, client):
    """Invalid UTF-8 in a text frame is not refused."""
    client.send_frame(TEXT, b"\xff\xfe")
    client.send_frame(TEXT, b'{"action":"subscribe","body":{"entity":"items","id":"1"},"note":"\xff"}')
    assert await shop.pushed(client) == [ROW]


# Liveness


@pytest.fixture
async def timed():
    clock = FakeClock()
    async with open_shop(clock=clock) as shop, shop.connected() as client:
        await client.until_pong()
        yield clock, client


async def test_ping_every_54_seconds(timed):
    """The server pings with an empty payload every 54.0 s."""
    clock, client = timed
    for _ in range(3):
        await clock.advance(53.9)
        assert await client.until_pong() == []
        await clock.advance(0.1)
        assert await client.frame() == Frame(PING, b"")
        client.send_frame(PONG)
        await client.until_pong()


async def test_without_a_pong_dropped_at_60_seconds(timed):
    """Without a pong the TCP connection is dropped at 60.0 s with no close frame."""
    clock, client = timed
    await clock.advance(54)
    assert await client.frame() == Frame(PING, b"")
    await clock.advance(5.9)
    assert await client.until_pong() == []
    await clock.advance(0.1)
    assert await client.rest() == b""


async def test_only_pongs_extend_the_deadline(timed):
    """Client data does not extend the deadline, only pongs do."""
    clock, client = timed
    await clock.advance(30)
    client.send_frame(PONG, b"unasked")
    await client.until_pong()
    await clock.advance(54)
    assert await client.frame() == Frame(PING, b"")
    client.send(SUBSCRIBE)
    assert await client.until_pong() == []
    await clock.advance(5.9)
    assert await client.until_pong() == []
    await clock.advance(0.1)
    assert await client.rest() == b""


@pytest.mark.parametrize("payload", [b"", b"x", b"\x00" * 125])
async def test_client_ping(client, payload):
    """Client ping → pong with the same payload."""
    client.send_frame(PING, payload)
    assert await client.frame() == Frame(PONG, payload)


# Closing


@pytest.mark.parametrize(
    "payload", [b"", b"\x03\xe8", b"\x03\xe9", b"\x03\xe8bye", b"\x0f\xa0", b"\x13\x87own"]
)
async def test_close_is_echoed(client, payload):
    """Close: echoes the client's code (1000, 1001, empty → empty), then EOF."""
    client.send_frame(CLOSE, payload)
    got = await client.frame()
    assert (got.opcode, got.payload[:2]) == (CLOSE, payload[:2])
    await client.ended()


@pytest.mark.parametrize(
    "raw",
    [
        frame(TEXT, b"{}", masked=False),
        frame(TEXT, b"{}", rsv=4),
        frame(TEXT, b"{}", rsv=2),
        frame(TEXT, b"{}", rsv=1),
        frame(PING, b"x" * 126),
        frame(PING, b"x", fin=False),
        frame(3, b"x"),
        frame(11, b"x"),
        frame(0, b"x"),
        frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"),
        frame(CLOSE, b"x"),
    ],
    ids=[
        "unmasked", "rsv1", "rsv2", "rsv3", "long ping", "split ping", "opcode 3", "opcode 11",
        "continues nothing", "text within text", "short close",
    ],
)  # fmt: skip
async def test_protocol_errors(client, raw):
    """Unmasked frame, RSV bit, ping >125 B → 1002 with a reason; so does whatever else breaks RFC 6455."""
    client.writer.write(raw)
    code, reason = await client.closing()
    assert code == 1002
    assert reason


# Subscriptions


async def test_subscribing_pushes_nothing(shop, client):
    """Subscribing pushes nothing: the first data comes with the next change."""
    client.send(SUBSCRIBE)
    assert await pushes(shop.sync, client) == []
    assert shop.loads == []
    assert await shop.pushed(client) == [ROW]


async def test_subscriptions_are_a_set(shop, client):
    """Subscribing 3× gives 1 push, one unsubscribe removes it, unsubscribe of an unknown key is a no-op."""
    client.send(UNSUBSCRIBE)
    for _ in range(3):
        client.send(SUBSCRIBE)
    assert await shop.pushed(client) == [ROW]
    client.send({"action": "unsubscribe", "body": {"entity": "items", "id": "2"}})
    client.send({"action": "unsubscribe", "body": {"entity": "nothing", "id": "1"}})
    assert await shop.pushed(client) == [ROW]
    client.send(UNSUBSCRIBE)
    assert await shop.pushed(client) == []


async def test_every_notify_is_a_push(shop, client):
    """Each notify is a push, also when the row is the same as before."""
    client.send(SUBSCRIBE)
    for _ in range(3):
        assert await shop.pushed(client) == [ROW]


async def test_unregistered_entity(shop, client):
    """Unregistered entity: subscribe accepted silently, never anything pushed."""
    client.subscribe("nothing", "1")
    assert await shop.pushed(client, "nothing", "1") == []


@pytest.mark.parametrize(
    "id",
    [
        "",
        ".",
        "a.b..c",
        " ",
        "a b",
        "'\"\\",
        "line\nfeed",
        "\x00",
        "a\x00b",
        "\N{PARTY POPPER}",
        "é",
        "x" * 300,
    ],
    ids=ascii,
)
async def test_any_id(shop, client, id):
    """ids: any string incl. empty, dots, spaces, quotes, newline, NUL, emoji, 300 chars work."""
    client.subscribe("items", id)
    assert await shop.pushed(client, "items", id) == [{"entity": "items", "id": id}]


# The secret


def secret(value: object) -> dict[str, object]:
    return {"action": "secret", "body": value}


async def test_secret_at_push_time(shop, client):
    """The secret may come before or after subscribe and change at any time; the value at push time counts."""
    client.subscribe("mine", "1")
    assert await shop.pushed(client, "mine") == [{"id": "1", "secret": ""}]
    client.send(secret("a"))
    assert await shop.pushed(client, "mine") == [{"id": "1", "secret": "a"}]
    client.send(secret("b"))
    client.send(secret("c"))
    assert await shop.pushed(client, "mine") == [{"id": "1", "secret": "c"}]


async def test_secret_before_subscribe(shop, client):
    """The secret may come before subscribe."""
    client.send(secret("a"))
    client.subscribe("mine", "1")
    assert await shop.pushed(client, "mine") == [{"id": "1", "secret": "a"}]


async def test_null_resets_the_secret(shop, client):
    """`null` resets the secret to ""."""
    client.send(secret("a"))
    client.subscribe("mine", "1")
    client.send(secret(None))
    assert await shop.pushed(client, "mine") == [{"id": "1", "secret": ""}]


@pytest.mark.parametrize("bad", [{"body": {}}, {"body": 7}, {"body": ["a"]}, {"body": True}, {}], ids=str)
async def test_bad_secret_keeps_the_old_one(shop, client, bad):
    """Object, number, missing body: the old secret is kept."""
    client.send(secret("a"))
    client.subscribe("mine", "1")
    client.send({"action": "secret", **bad})
    assert await shop.pushed(client, "mine") == [{"id": "1", "secret": "a"}]


# Go's lenient JSON


@pytest.mark.parametrize(
    "text",
    [
        '{"Action":"subscribe","BODY":{"Entity":"items","ID":"1"}}',
        '{"aCTION":"subscribe","boDy":{"eNtity":"items","Id":"1"}}',
        '{"x":[{}],"action":"subscribe","y":null,"body":{"entity":"items","id":"1","z":7}}',
        ' \t\r\n{ "action" : "subscribe" , "body" : { "entity" : "items" , "id" : "1" } } \n',
        '{"action":"unsubscribe","action":"subscribe","body":{"entity":"items","id":"1"}}',
        '{"ACTION":"x","action":"subscribe","body":{"entity":"items","id":"2","ID":"1"}}',
        '{"action":"subscribe","body":7,"body":{"entity":"items","id":"1"}}',
        '{"action":"subscribe","action":null,"body":{"entity":"items","id":"1","id":null}}',
        '{"action":"subscribe","body":{"entity":"items","entity":null,"id":"1"}}',
        '{"\\u0061ction":"subscribe","body":{"entity":"it\\u0065ms","id":"\\u0031"}}',
    ],
)
async def test_lenient_json_subscribes(shop, client, text):
    """Member names match in any case, unknown members are ignored, of equal names the last wins, but a later
    null leaves the earlier value."""
    client.send(text)
    assert await shop.pushed(client) == [ROW]


@pytest.mark.parametrize(
    "body", ['{"entity":"items"}', '{"entity":"items","id":null}', '{"entity":"items","id":""}'], ids=str
)
async def test_missing_id_is_empty(shop, client, body):
    """A missing `id` is "": the key `items.` is then really subscribed."""
    client.send(f'{{"action":"subscribe","body":{body}}}')
    assert await shop.pushed(client, "items", "") == [{"entity": "items", "id": ""}]


@pytest.mark.parametrize("body", ["null", "{}", '{"id":"1"}', '{"entity":null}'], ids=str)
async def test_missing_entity_is_empty(shop, client, body):
    """`body:null` or a missing `entity` is "": accepted in silence, though no entity has that name."""
    client.send(f'{{"action":"subscribe","body":{body}}}')
    client.send(SUBSCRIBE)
    assert await shop.pushed(client) == [ROW]


async def test_lone_surrogates(shop, client):
    """Lone surrogate escapes become U+FFFD; pairs are one character."""
    client.send('{"action":"subscribe","body":{"entity":"items","id":"a\\ud800b\\udc00"}}')
    client.send('{"action":"subscribe","body":{"entity":"items","id":"\\ud83c\\udf89"}}')
    assert await shop.pushed(client, "items", "a�b�") == [{"entity": "items", "id": "a�b�"}]
    assert await shop.pushed(client, "items", "\N{PARTY POPPER}") == [
        {"entity": "items", "id": "\N{PARTY POPPER}"}
    ]


async def test_missing_body_is_ignored(shop, client):
    """A missing `body` on subscribe: ignored."""
    client.send({"action": "subscribe"})
    client.send({"action": "unsubscribe"})
    assert await shop.pushed(client, "items", "") == []


# Silence


@pytest.mark.parametrize(
    "message",
    [
        '{"action":"dance"}',
        '{"action":"subscribe","body":',
        "{action:subscribe}",
        "[]",
        '"x"',
        "123",
        "true",
        "NaN",
        "",
        " ",
        b"",
        b"\x00\xff",
        '{"action":7}',
        '{"action":["subscribe"]}',
        '{"action":{}}',
        '{"action":"Subscribe","body":{"entity":"items","id":"1"}}',
        '{"action":"subscribe","body":{"entity":"items","id":1}}',
        '{"action":"subscribe","body":{"entity":["items"],"id":"1"}}',
        '{"action":"subscribe","body":"items.1"}',
        '{"action":"subscribe","body":["items","1"]}',
        '{"action":"subscribe","body":7}',
        '{"action":"subscribe","body":{"entity":"items","id":"1"}}}',
        '{"action":"subscribe","body":{"entity":"items","id":"1"}} {}',
        "[" * 60_000,
        '{"a":' * 10_000,
    ],
    ids=lambda message: ascii(message)[:40],
)
async def test_bad_input_is_ignored_in_silence(shop, client, message):
    """Unknown action, malformed JSON, `[]`, `"x"`, `123`, empty message, non-string action, `Subscribe`,
    non-string id, body of wrong type: ignored silently, connection kept, nothing passed through."""
    client.send(message)
    assert await shop.pushed(client) == []
    assert shop.passed == []
    client.send(SUBSCRIBE)
    assert await shop.pushed(client) == [ROW]


# Pass-through


@pytest.mark.parametrize(
    "message",
    [
        "{}",
        '{"hello":"world"}',
        "null",
        '{"action":""}',
        '{"action":"","body":{"entity":"items","id":"1"}}',
        '{"action":null,"body":7}',
        ' {"body" :  "x"}\n',
        b'{"binary":true}',
    ],
    ids=ascii,
)
async def test_pass_through(shop, client, message):
    """Pass-through when `action` is empty or absent: the handler gets the secret and the raw bytes."""
    client.send(secret("s"))
    client.send(message)
    assert await pushes(shop.sync, client) == []
    assert shop.passed == [("s", message if isinstance(message, bytes) else message.encode())]


async def test_without_a_handler_nothing_happens():
    """Without a handler such messages are only logged."""
    async with open_shop(passes=False) as shop, shop.connected() as client:
        client.send("{}")
        client.send(SUBSCRIBE)
        assert await shop.pushed(client) == [ROW]


async def test_pass_through_subscribes_to_nothing(shop, client):
    """A passed message is not an action, whatever its body says."""
    client.send({"action": "", "body": {"entity": "items", "id": "1"}})
    assert await shop.pushed(client) == []


async def test_a_number_of_sessions_in_order(shop):
    """Rows of several keys reach the client in the order of the changes."""
    async with shop.connected() as client:
        for id in "123":
            client.subscribe("items", id)
        assert await pushes(shop.sync, client) == []
        for id in "312":
            await shop.sync.notify("items", id)
        assert [json.loads(await client.message())["id"] for _ in range(3)] == ["3", "1", "2"]
