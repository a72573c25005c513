"""Tags: one canonical text for each value, and which live queries a change concerns."""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entity_sync.core.tags import Reading, Readings, canonical_tags, merged, reading
from entity_sync.model import Reads, Tags


class Status(Enum):
    OPEN = "open"


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (7, {"7"}),
        ("7", {"7"}),
        ([7, 9], {"7", "9"}),
        ({7}, {"7"}),
        (True, {"true"}),
        (False, {"false"}),
        (None, {"null"}),
        (Status.OPEN, {"open"}),
        (date(2026, 1, 31), {"2026-01-31"}),
        ([date(2026, 1, 31), "2026-01-31"], {"2026-01-31"}),
        (UUID(int=1), {"00000000-0000-0000-0000-000000000001"}),
        ([], set[str]()),
    ],
)
def test_canonical(value: object, texts: set[str]):
    """A scalar is a list of one, and equal values of different types are one text."""
    assert canonical_tags({"customer": value}) == {"customer": frozenset(texts)}


@pytest.mark.parametrize(
    ("longest", "too_long"),
    [
        ({"n" * 64: 1}, {"n" * 65: 1}),
        ({"a": list(range(256))}, {"a": list(range(257))}),
        ({"a": "x" * 256}, {"a": "x" * 257}),
        ({"a": "é" * 128}, {"a": "é" * 129}),
        ({str(number): 1 for number in range(16)}, {str(number): 1 for number in range(17)}),
    ],
)
def test_bounds(longest: dict[str, Any], too_long: dict[str, Any]):
    """64 characters of a name, 256 values, 256 bytes of a value and 16 tags are carried, one more is not."""
    assert canonical_tags(longest).keys() == longest.keys()
    with pytest.raises(ValueError, match=r"carried|has 1 to|longer"):
        canonical_tags(too_long)


@pytest.mark.parametrize(
    ("tags", "text"),
    [
        ({"a": 1.5}, "tag 'a' is a float: use a str, int, bool, UUID, date or None"),
        ({"a": datetime(2026, 1, 31, tzinfo=UTC)}, "tag 'a' is a datetime"),
        ({"a": "x" * 257}, "a value of tag 'a' is longer than 256 bytes"),
        ({"a": "\ud800"}, "or no text"),
        ({"a": "x\udfff"}, "or no text"),
        ({"a": list(range(257))}, "tag 'a' has 257 values, and at most 256"),
        ("customer", "tags are a mapping of names to values, not 'customer'"),
        (["customer"], "tags are a mapping of names to values, not"),
        ({5: 1}, "a tag's name is a str, not 5"),
        ({"": 1}, "a tag's name has 1 to 64 characters, not 0"),
        ({str(number): 1 for number in range(10_000)}, "10000 tags, and at most 16"),
    ],
)
def test_what_is_no_tag(tags: Any, text: str):
    """Each is refused with the tag's name."""
    with pytest.raises(ValueError, match=text):
        canonical_tags(tags)


@pytest.mark.parametrize(
    ("tags", "concerns"),
    [
        (None, True),
        ({}, True),
        ({"customer": {"7"}}, True),
        ({"customer": {"8"}}, False),
        ({"customer": {"7", "8"}, "status": {"done"}}, False),
        ({"status": {"open", "done"}}, True),
        ({"other": {"1"}}, True),
        ({"customer": set[str]()}, False),
    ],
)
def test_which_changes_concern_a_live_query(tags: dict[str, set[str]] | None, concerns: bool):
    """Every tag that both name must have a value in common; what a change leaves out matches."""
    read = reading(Reads("orders", customer=7, status=["open"]))
    said = None if tags is None else {name: frozenset(values) for name, values in tags.items()}
    assert read.concerns(said) is concerns
    assert Reading("orders").concerns(said)


def test_merged():
    """Two changes of one key that become one concern whatever either does."""
    first, second = canonical_tags({"a": 1, "b": 1}), canonical_tags({"a": 2, "c": 1})
    assert merged(first, second) == {"a": frozenset({"1", "2"})}
    assert merged(first, None) is merged(None, second) is None
    half, other, beyond = (canonical_tags({"a": list(range(start, start + 128))}) for start in (0, 128, 129))
    assert len(merged(half, other)["a"]) == 256  # type: ignore[index]
    assert merged(canonical_tags({"a": list(range(129))}), beyond) == {}


def test_shown():
    """A live query in a log."""
    assert repr(Reads("orders", customer=7)) == "Reads('orders', customer=7)"


@pytest.mark.parametrize(
    ("reads", "places"), [(Reads("a"), 1), (Reads("a", b=1), 1), (Reads("a", b=[1, 2], c=[3, 4, 5]), 5)]
)
def test_places(reads: Reads, places: int):
    """A live query is looked for under each value of each tag, and under none where it has no tags."""
    assert reading(reads).places == places


VALUES = st.frozensets(st.sampled_from("123"), max_size=2)
TAGS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)
READINGS = st.builds(lambda tags: Reading("orders", tuple(sorted(tags.items()))), TAGS)


@given(st.lists(READINGS, max_size=5), st.none() | TAGS)
def test_many_are_as_each_of_them(reads: list[Reading], tags: Tags | None):
    """A change concerns live queries together where it concerns one of them."""
    assert Readings(reads).concerned(tags) is any(read.concerns(tags) for read in reads)


def test_one_that_is_looked_up_by_a_tag_is_asked_for_the_others():
    """The rarest value that a change says is that of a live query which another tag tells apart."""
    reads = [
        Reading("orders", (("customer", frozenset({customer})), ("status", frozenset({status}))))
        for customer, status in [("1", "2"), ("5", "3"), ("6", "3")]
    ]
    readings = Readings(reads)
    assert not readings.concerned(canonical_tags({"customer": 1, "status": 3}))
    assert readings.concerned(canonical_tags({"customer": 1, "status": 2}))


def test_many_are_looked_up(monkeypatch: pytest.MonkeyPatch):
    """However many there are, a change is compared with those of its rarest value."""
    reads = [canonical_tags({"open": True, "customer": number}) for number in range(500)]
    readings = Readings(Reading("orders", tuple(sorted(tags.items()))) for tags in reads)
    compared = 0
    concerns = Reading.concerns

    def counted(read: Reading, tags: Tags | None) -> bool:
        nonlocal compared
        compared += 1
        return concerns(read, tags)

    monkeypatch.setattr(Reading, "concerns", counted)
    assert readings.concerned(canonical_tags({"open": True, "customer": 7}))
    assert not readings.concerned(canonical_tags({"open": True, "customer": 500}))
    assert compared == 1
