"""One spelling for each id: whatever else a client or the application writes is refused."""

from __future__ import annotations

from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID

import asyncpg.pgproto.pgproto
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.core.change import decode, encode
from entity_sync.errors import BadId
from entity_sync.loading.ids import ID_TYPES, canonical_id
from entity_sync.model import Change, EntityKey

STR, INT, UID = ID_TYPES[str], ID_TYPES[int], ID_TYPES[UUID]
UUID_TEXT = "12345678-9abc-def0-1234-56789abcdef0"

GOOD = [
    (STR, "x", "x"),
    (STR, "0100", "0100"),
    (STR, " a ", " a "),
    (STR, "../a?b=c#d", "../a?b=c#d"),
    (STR, "ü€😀", "ü€😀"),
    (STR, "x" * 256, "x" * 256),
    (STR, "€" * 85 + "x", "€" * 85 + "x"),
    (INT, "0", 0),
    (INT, "100", 100),
    (INT, "-7", -7),
    (INT, "9" * 40, int("9" * 40)),
    (UID, UUID_TEXT, UUID(UUID_TEXT)),
]

BAD = [
    (STR, ""),
    (STR, "x" * 257),
    (STR, "€" * 86),
    (STR, "a\n"),
    (STR, "\0"),
    (STR, "a\x7f"),
    (STR, "a\x85b"),
    (STR, "\ud800"),
    (STR, "a\udfff"),
    (INT, ""),
    (INT, "0100"),
    (INT, " 100"),
    (INT, "100 "),
    (INT, "100\n"),
    (INT, "१००"),
    (INT, "\uff11\uff10\uff10"),
    (INT, "+1"),
    (INT, "-0"),
    (INT, "00"),
    (INT, "-01"),
    (INT, "1_0"),
    (INT, "1.0"),
    (INT, "1e3"),
    (INT, "0x10"),
    (INT, "²"),
    (INT, "--1"),
    (INT, "9" * 41),
    (INT, "9" * 5_000),
    (INT, "\ud800"),
    (UID, ""),
    (UID, UUID_TEXT.upper()),
    (UID, UUID_TEXT.replace("-", "")),
    (UID, "{" + UUID_TEXT + "}"),
    (UID, "urn:uuid:" + UUID_TEXT),
    (UID, " " + UUID_TEXT),
    (UID, UUID_TEXT + "\n"),
    (UID, UUID_TEXT.replace("1", "१")),
    (UID, "not a uuid"),
    (UID, "\ud800"),
]


@pytest.mark.parametrize(("kind", "text", "value"), GOOD)
def test_canonical_text(kind: Any, text: str, value: object):
    """A canonical text is taken as it is from a client and from notify, and is that value to a loader."""
    assert kind.canonical("items", text, "v2") == text
    assert kind.canonical("items", text, "classic") == text
    assert kind.canonical_of("items", text) == text
    assert kind.canonical_of("items", value) == text
    assert kind.parse(text) == value


@pytest.mark.parametrize(("kind", "text"), BAD)
def test_other_spellings(kind: Any, text: str):
    """Every other text is a BadId that names the entity, from a client and from notify alike."""
    with pytest.raises(BadId, match="bad id for 'items'") as caught:
        kind.canonical("items", text, "v2")
    assert caught.value.entity == "items"
    with pytest.raises(BadId, match="bad id for 'items'"):
        kind.canonical_of("items", text)


@pytest.mark.parametrize("text", [text for kind, text in BAD if kind is STR])
def test_classic_uses_any_text(text: str):
    """A classic client may use any text for a str id, as the Go original lets it."""
    assert STR.canonical("items", text, "classic") == text


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, text in BAD if kind is not STR])
def test_classic_int_and_uuid_are_canonical(kind: Any, text: str):
    """A loader that takes an int or a UUID gets one on the classic wire too."""
    with pytest.raises(BadId):
        kind.canonical("items", text, "classic")


Fake = type("UUID", (), {})


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (INT, True, "expected int, got bool"),
        (INT, 1.0, "expected int, got float"),
        (INT, None, "expected int, got NoneType"),
        (INT, UUID(UUID_TEXT), "expected int, got uuid.UUID"),
        (INT, 10**50, "integer id"),
        (STR, 5, "expected str, got int"),
        (STR, b"x", "expected str, got bytes"),
        (UID, 5, "expected UUID, got int"),
        (UID, Fake(), r"expected UUID, got tests\.loading\.test_ids\.UUID"),
    ],
)
def test_value_of_another_type(kind: Any, value: object, reason: str):
    """Notify refuses a value of another type, a bool for an int too, and says which it wanted."""
    with pytest.raises(BadId, match=reason):
        kind.canonical_of("items", value)


class Plain(str):
    """A str of another class, as template engines and databases return it."""

    __slots__ = ()


class Colour(StrEnum):
    RED = "red"


class OldColour(str, Enum):  # noqa: UP042 - its str() is not its value
    RED = "red"


@pytest.mark.parametrize("value", [Plain("red"), Colour.RED, OldColour.RED])
def test_strings_of_other_classes(value: str):
    """A str of any class is the id of its characters, a plain str that every broker can carry."""
    text = STR.canonical_of("items", value)
    assert type(text) is str
    assert text == "red"
    key = EntityKey("items", text)
    assert decode(encode(Change(key))) == Change(key)


class DriverUUID(UUID):
    """A UUID of another class, as databases' drivers return it; it shows itself in its own way."""

    def __str__(self) -> str:
        return f"<{self.hex}>"


class Size(IntEnum):
    SMALL = 1


class OldSize(int, Enum):  # its str() is not its value
    SMALL = 1


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (UID, DriverUUID(UUID_TEXT), UUID_TEXT),
        (UID, asyncpg.pgproto.pgproto.UUID(UUID_TEXT), UUID_TEXT),
        (INT, Size.SMALL, "1"),
        (INT, OldSize.SMALL, "1"),
        (STR, Colour.RED, "red"),
    ],
)
def test_values_of_subclasses(kind: Any, value: object, text: str):
    """A driver's UUID and an Enum of ints are their value, whether or not the entity is known."""
    assert kind.canonical_of("items", value) == text
    assert canonical_id("items", value) == text


@pytest.mark.parametrize("value", [True, 1.0, None, [1], Plain])
def test_what_is_no_id(value: object):
    """Where the entity's type is not known either, a bool is no int."""
    with pytest.raises(BadId, match="an id is a str, an int or a UUID, not a "):
        canonical_id("items", value)


@settings(deadline=None)
@given(st.integers(-(10**38), 10**38))
def test_integers_round_trip(value: int):
    """An int that is spelled is parsed to itself."""
    assert INT.parse(INT.canonical_of("items", value)) == value


@settings(deadline=None)
@given(st.uuids())
def test_uuids_round_trip(value: UUID):
    """A UUID that is spelled is parsed to itself."""
    assert UID.parse(UID.canonical_of("items", value)) == value


@settings(deadline=None)
@given(st.sampled_from([STR, INT, UID]), st.text(st.characters(codec=None), max_size=60))
def test_no_two_texts_are_one_value(kind: Any, text: str):
    """Whatever is accepted is the only spelling of its value; whatever is not is a BadId."""
    try:
        accepted = kind.canonical("items", text, "v2")
    except BadId:
        return
    assert kind.canonical_of("items", kind.parse(accepted)) == text


def test_long_integers_are_named():
    """An integer beyond 40 characters is refused for its length, not for its spelling."""
    with pytest.raises(ValueError, match="an integer id has at most 40 characters"):
        ID_TYPES[int].parse("1" * 41)
