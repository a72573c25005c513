"""Values that pydantic or msgspec send by rules of their own: looking at them changes none of it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pydantic
import pytest

from entity_sync.errors import LoadFailed
from entity_sync.loading.values import loaded_row


def sent(value: object) -> str:
    return loaded_row(value).data.decode()


class Links(pydantic.BaseModel):
    page: pydantic.HttpUrl
    token: pydantic.SecretStr


def test_types_of_pydantic_that_are_no_models():
    """They have a serializer and no fields, and are sent as pydantic sends them."""
    links = Links(page="https://example.org/x", token="hunter2")  # type: ignore[arg-type]
    assert sent(links) == '{"page":"https://example.org/x","token":"**********"}'
    with pytest.raises(LoadFailed, match=r"field 'page' is an? HttpUrl, which has no JSON form"):
        sent({"page": links.page})


class Hosts(pydantic.BaseModel):
    addresses: set[IPv4Address]
    files: list[Path]


def test_members_that_only_pydantic_knows():
    """A set of them is in order, as any set is."""
    hosts = Hosts(addresses={IPv4Address("10.0.0.2"), IPv4Address("10.0.0.1")}, files=[Path("/a")])
    assert sent(hosts) == '{"addresses":["10.0.0.1","10.0.0.2"],"files":["/a"]}'


class Child(pydantic.BaseModel):
    id: int

    @pydantic.model_serializer
    def alone(self) -> Any:
        raise RuntimeError("only within its parent")


class Parent(pydantic.BaseModel):
    child: Child

    @pydantic.field_serializer("child")
    def by_id(self, child: Child) -> int:
        return child.id


def test_what_a_parent_serializes_is_not_serialized_alone():
    """A child stands in its parent as the parent says."""
    assert sent(Parent(child=Child(id=7))) == '{"child":7}'


class Nested(pydantic.BaseModel):
    inner: Nested | None = None
    calls: int = 0

    @pydantic.field_serializer("calls")
    def count(self, _calls: int) -> int:
        counted.append(1)
        return 0


counted: list[int] = []


def test_depth_costs_what_it_holds():
    """Each object is serialized with the outermost one, and not once more for each that holds it."""
    value: Nested | None = None
    for _ in range(20):
        value = Nested(inner=value)
    counted.clear()
    sent(value)
    assert len(counted) <= 4 * 20


class Address(msgspec.Struct, frozen=True):
    city: str = "Delft"


class Brief(msgspec.Struct, omit_defaults=True):
    a: int = 1
    tags: tuple[str, ...] = ()
    seen: set[int] = msgspec.field(default_factory=set)
    address: Address = Address()


def test_defaults_that_a_struct_leaves_out():
    """They are left out whatever type they are of; what is no default is in its order."""
    assert sent(Brief()) == "{}"
    assert sent(Brief(tags=("x",), seen={2, 1})) == '{"seen":[1,2],"tags":["x"]}'


class Uncopied(msgspec.Struct):
    ids: set[int]

    def __copy__(self) -> Uncopied:
        raise TypeError("there is one of it")


def test_a_struct_that_makes_something_else_of_copies():
    """It is not asked."""
    assert sent(Uncopied({3, 1, 2})) == '{"ids":[1,2,3]}'


@dataclass
class Base:
    a: int = 1


@attrs.define
class Derived(Base):
    b: int = 2


def test_an_attrs_class_that_is_made_of_a_dataclass():
    """What it declares itself is sent."""
    assert sent(Derived()) == '{"b":2}'
