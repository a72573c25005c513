"""What a loader may return, and what becomes of it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.core.loaded import Loaded
from entity_sync.errors import LoadFailed
from entity_sync.loading.rows import Collector, collected
from entity_sync.loading.slices import at_once
from entity_sync.model import EntityKey


def loaded(value: object) -> Loaded:
    """The state that one returned value makes."""
    return at_once(collected(value, Collector(EntityKey("items", "1"), EntityKey)))  # type: ignore[arg-type]


class Colour(Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    tags: Any = ()


@dataclasses.dataclass
class Late:
    """Not every field of it is an attribute."""

    x: Any
    seed: dataclasses.InitVar[int]
    later: Any = dataclasses.field(init=False)


class Struct(msgspec.Struct):
    x: int
    inner: Any = None


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    x: int
    inner: Any = None


def data(value: object) -> bytes:
    [row] = loaded(value).rows
    return row.data


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1, "a": None}, b'{"a":null,"b":1}'),
        ({2: "two", 1: "one"}, b'{"1":"one","2":"two"}'),
        (Point(1, [Point(2)]), b'{"tags":[{"tags":[],"x":2}],"x":1}'),
        (Struct(1, Point(2)), b'{"inner":{"tags":[],"x":2},"x":1}'),
        (Model(x=1, inner={"y": [2]}), b'{"inner":{"y":[2]},"x":1}'),
        ({"m": [Model(x=1)]}, b'{"m":[{"inner":null,"x":1}]}'),
        (
            Point(1, {"m": Model(x=2, inner=Model(x=3))}),
            b'{"tags":{"m":{"inner":{"inner":null,"x":3},"x":2}},"x":1}',
        ),
        (Struct(1, Model(x=2)), b'{"inner":{"inner":null,"x":2},"x":1}'),
        (
            {"at": datetime(2024, 1, 2, tzinfo=UTC), "price": Decimal("1.50"), "id": UUID(int=1)},
            b'{"at":"2024-01-02T00:00:00Z","id":"00000000-0000-0000-0000-000000000001","price":"1.50"}',
        ),
        ({"colour": Colour.RED, "raw": b"\x00\xff"}, b'{"colour":"red","raw":"AP8="}'),
        ({"set": {"c", "a", "b"}}, b'{"set":["a","b","c"]}'),
        ("text", b'"text"'),
        (5, b"5"),
        (1.5, b"1.5"),
        (True, b"true"),
        ({}, b"{}"),
        ({"n": 2**53 - 1, "m": -(2**53) + 1}, b'{"m":-9007199254740991,"n":9007199254740991}'),
    ],
)  # fmt: skip
def test_values(value: object, expected: bytes):
    """Built-in values, dataclasses, msgspec and pydantic objects, also nested, are canonical JSON."""
    [row] = loaded(value).rows
    assert row.data == row.verbatim == expected
    assert not loaded(value).gone


def test_none_is_gone():
    """None means that the key does not exist, which an empty value does not."""
    assert loaded(None).gone
    assert loaded(None).rows == ()
    assert loaded(None).version != loaded({}).version


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_verbatim(kind: Any):
    """Bytes of JSON reach classic clients exactly as written, and are compared by their content."""
    text = b' {"b": 1.50,\n "a": "\\u00e9"} '
    [row] = loaded(kind(text)).rows
    assert row.verbatim == text
    assert row.data == '{"a":"é","b":1.5}'.encode()
    assert loaded(text).version == loaded({"a": "é", "b": 1.5}).version


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"nonsense",
        b"NaN",
        b"[1,]",
        b'"\xff"',
        b'{"a":"\\ud800"}',
        b"{}{}",
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_bytes_that_are_no_json(text: bytes):
    """Bytes that are not JSON fail the load and say so."""
    with pytest.raises(LoadFailed, match="the bytes returned are not JSON"):
        loaded(text)


NAN = float("nan")
CYCLE: dict[str, Any] = {}
CYCLE["me"] = CYCLE


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": {"b": NAN}}, r"field 'a\.b' is nan"),
        (Point(1, [0, NAN]), r"field 'tags\[1\]' is nan"),
        (Struct(1, {"deep": [float("inf")]}), r"field 'inner\.deep\[0\]' is inf"),
        ({"a": {"b": 2**60}}, r"field 'a\.b' is an integer beyond"),
        (b'{"a":[1152921504606846976]}', r"field 'a\[0\]' is an integer beyond"),
        ({"a": {"b": object()}}, r"field 'a\.b' is an object, which has no JSON form"),
        ({"a": [1, {"z": object()}]}, r"field 'a\[1\]\.z' is an object"),
        (Point(1, [Point(2, object())]), r"field 'tags\[0\]\.tags' is an object"),
        (Struct(1, Struct(2, object())), r"field 'inner\.inner' is an object"),
        (Model(x=1, inner=[object()]), r"field 'inner\[0\]' is an object"),
        ({"m": (Model(x=1, inner=object()),)}, r"field 'm\[0\]\.inner' is an object"),
        ({"m": Model(x=1, inner={2**60})}, r"field 'm\.inner\[0\]' is an integer beyond"),
        ({"m": Model(x=1, inner={"\ud800"})}, r"field 'm\.inner\[0\]' holds a lone surrogate"),
        (Late(object(), 1), r"field 'x' is an object"),
        ({"a": {"b": {1, 1j}}}, r"field 'a\.b\[\d\]' is a complex"),
        ({"a": {object(): 1}}, r"field 'a' has a name that is an object: JSON names are texts"),
        ({object(): 1}, r"the value has a name that is an object: JSON names are texts"),
        ({"a": "\ud800"}, r"field 'a' holds a lone surrogate"),
        ({"a": 1j}, r"field 'a' is a complex"),
        (CYCLE, r"field 'me\.me\.me.* is nested deeper than 64"),
    ],
)  # fmt: skip
def test_unsendable_is_named(value: object, text: str):
    """What JSON or JavaScript cannot hold fails the load for good, and the field is named with its path."""
    with pytest.raises(LoadFailed, match=text) as caught:
        loaded(value)
    assert not caught.value.retryable


class Orm:
    """A row of an object-relational mapper."""

    def __init__(self) -> None:
        self.id, self.password_hash = 1, "secret"


@pytest.mark.parametrize("value", [Orm(), object(), Point, Model, lambda: 1, 1j])
def test_objects_are_refused(value: object):
    """An object that declares no fields is refused, so that nothing leaks; the text says what to do."""
    with pytest.raises(
        LoadFailed, match=r"cannot send an? .*return a dict, a dataclass, a msgspec, attrs or"
    ):
        loaded(value)


@pytest.mark.parametrize("value", [{1}, frozenset(), [[1]], ([],), [(1, 2)]])
def test_a_row_is_one_value(value: object):
    """Several rows are a list of them, in order: a set has none, and a list in a list is no row."""
    with pytest.raises(LoadFailed, match=r"a row is one value, not a \w+: return or yield rows one by one"):
        loaded(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_forms_of_one_value(value: dict[str, Any]):
    """The same content has the same version, whichever form it is returned in."""
    version = loaded(value).version
    assert loaded(msgspec.json.encode(value)).version == version
    assert loaded(msgspec.json.format(msgspec.json.encode(value), indent=2)).version == version
    assert loaded(dict(reversed(value.items()))).version == version


PROGRAM = """
import dataclasses, enum, json, msgspec, pydantic
from collections import deque
from typing import Any
from entity_sync.loading.values import loaded_row
WORDS = ["one", "two", "three", "four", "five", "six"]

@dataclasses.dataclass
class D:
    words: object
class S(msgspec.Struct):
    words: object
class M(pydantic.BaseModel):
    words: set[str]
    inner: object = None
    by: dict[int, frozenset[str]] = {}
class Nested(pydantic.BaseModel):
    sets: Any
    queue: deque[set[str]] = deque()
    typed: set[frozenset[str]] = set()
    pairs: set[tuple[int, frozenset[str]]] = set()
class Frozen(pydantic.BaseModel, frozen=True):
    words: frozenset[str]
class Models(pydantic.BaseModel):
    models: set[Frozen]
@dataclasses.dataclass(frozen=True)
class FD:
    words: frozenset[str]
class Renamed(msgspec.Struct, rename="camel", tag=True, frozen=True):
    the_words: object
class Listed(msgspec.Struct, array_like=True, tag=True, frozen=True):
    words: object
Colour = enum.Enum("Colour", WORDS)

words = set(WORDS)
several = {frozenset(WORDS), frozenset(WORDS[:5]), frozenset(WORDS[1:]), frozenset()}
for value in (
    {word: len(word) for word in words},
    {"words": words, "frozen": frozenset(WORDS)},
    D([words, D(words)]),
    S(words),
    M(words=words),
    M(words=words, by={1: words}),
    {"m": [M(words=words, inner=M(words=words))]},
    D(M(words=words, inner={"deep": [words]})),
    {"s": several},
    {"s": {(1, frozenset(WORDS)), (2, frozenset(WORDS[1:])), (1, frozenset(WORDS[2:]))}},
    {"s": {1, 2, None, "x", "y", *WORDS}},
    {"s": {*Colour, True}},
    {"s": {FD(frozenset(WORDS)), FD(frozenset("abc"))}},
    {1: several, 2: [words, {"x": {FD(frozenset(WORDS))}}]},
    D(Renamed({Listed(frozenset(WORDS)), Listed(frozenset("abcd"))})),
    Nested(sets={"x": several}, queue=[words, words]),
    Nested(sets=[{"x": {(1, frozenset(WORDS))}}], typed=several),
    Nested(sets=0, pairs={(1, frozenset(WORDS)), (2, frozenset(WORDS[1:]))}),
    Models(models={Frozen(words=WORDS), Frozen(words=WORDS[1:])}),
):
    print(loaded_row(value).data.decode())
"""


def test_independent_of_the_hash_seed():
    """Sets, dicts, dataclasses, structs and pydantic models have one version under any PYTHONHASHSEED."""
    versions = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parent,
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3", "4")
    }
    assert len(versions) == 1
    assert len(set(versions.pop().split())) == 19


class Rank(Enum):
    HIGH = 2
    LOW = 1


@dataclasses.dataclass(frozen=True)
class Place:
    x: int


class Served(pydantic.BaseModel):
    tags: set[str]

    @pydantic.field_serializer("tags")
    def by_length(self, tags: set[str]) -> list[str]:
        return sorted(tags, key=len)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({10, 9}, b"[9,10]"),
        ({Rank.HIGH, Rank.LOW}, b"[1,2]"),
        ({2, "1", None}, b'["1",2,null]'),
        ({Place(2), Place(1)}, b'[{"x":1},{"x":2}]'),
        ({frozenset({2}), frozenset({3, 1})}, b"[[1,3],[2]]"),
        ({(2, 1), (1, 2)}, b"[[1,2],[2,1]]"),
        (Served(tags={"a", "bbb", "cc"}), b'{"tags":["a","cc","bbb"]}'),
        (Model(x=1, inner={10, 9}), b'{"inner":[9,10],"x":1}'),
    ],
)
def test_sets_of(value: object, text: bytes):
    """A set of anything that has a JSON form is sent in one order; what had an order keeps it."""
    assert loaded({"s": value}).rows[0].data == b'{"s":' + text + b"}"
