"""The quick way to canonical JSON gives the bytes that the careful one gives, or nothing."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, Self
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from entity_sync.core.canonical import canonical
from entity_sync.errors import LoadFailed
from entity_sync.loading.glance import at_a_glance
from entity_sync.loading.opened import encodable
from entity_sync.loading.values import loaded_row


class Colour(Enum):
    RED = "red"
    TEN = 10
    LARGE = 2**53
    NONE = None


class Size(StrEnum):
    SMALL = "s"


class Level(IntEnum):
    HIGH = 3


class Odd(str, Enum):  # noqa: UP042
    """Its text is not its value."""

    ONE = "one"

    def __new__(cls, text: str) -> Self:
        one = str.__new__(cls, f"{text}!")
        one._value_ = text
        return one


class Off(int, Enum):
    """Its number is not its value."""

    ONE = 1

    def __new__(cls, number: int) -> Self:
        one = int.__new__(cls, number + 2**53)
        one._value_ = number
        return one


class Ratio(float, Enum):
    HALF = 0.5


class Base(MappedAsDataclass, DeclarativeBase):
    pass


class Login(Base):
    __tablename__ = "glanced"
    id: Mapped[int] = mapped_column(primary_key=True)
    password_hash: Mapped[str]


class Inner(pydantic.BaseModel):
    some_value: Any = pydantic.Field(serialization_alias="someValue")


@dataclasses.dataclass
class Part:
    one: Any
    two: Any = 2


class Piece(msgspec.Struct, rename="camel"):
    first_one: Any
    two: Any = 2


_MEMBERS: list[Callable[[random.Random], Any]] = [
    lambda r: r.randrange(1 - 2**53, 2**53),
    lambda r: r.choice([0, -0.0, 1e22, 1e16, 0.1, r.random() * 10.0 ** r.randrange(-300, 300)]),
    lambda r: "".join(r.choice('aé"\\\n\u2028😀/<z') for _ in range(r.randrange(5))),
    lambda _r: None,
    lambda r: r.random() < 0.5,
    lambda r: datetime(r.randrange(1, 9999), 1, 2, 3, 4, 5, r.randrange(10**6), tzinfo=r.choice([None, UTC])),
    lambda r: date(2020, 1, r.randrange(1, 29)),
    lambda r: time(1, 2, 3, r.randrange(10**6)),
    lambda r: timedelta(seconds=r.random() * 1e6),
    lambda r: UUID(int=r.getrandbits(128)),
    lambda r: Decimal(r.randrange(10**9)).scaleb(r.randrange(-12, 12)),
    lambda r: r.choice([Colour.RED, Colour.TEN, Size.SMALL, Level.HIGH]),
    lambda r: [_member(r) for _ in range(r.randrange(3))],
    lambda r: {"".join(r.choices("abAZ_é0", k=3)): _member(r) for _ in range(r.randrange(3))},
]
_CLOSER: list[Callable[[random.Random], Any]] = [
    lambda r: {r.randrange(9) for _ in range(r.randrange(4))},
    lambda r: frozenset("".join(r.choices("abc", k=2)) for _ in range(r.randrange(4))),
    lambda r: tuple(_any(r) for _ in range(r.randrange(3))),
    lambda r: Part(_any(r)),
    lambda r: Piece(_any(r)),
    lambda r: Inner(some_value=_any(r)),
    lambda r: r.choice([Odd.ONE, Off.ONE, Ratio.HALF, Colour.LARGE, Colour.NONE, msgspec.UNSET]),
    lambda r: {r.randrange(9): _any(r)},
    lambda r: [{r.randrange(9)}, _any(r)],
]


def _member(r: random.Random) -> Any:
    return r.choice(_MEMBERS)(r)


def _any(r: random.Random) -> Any:
    return r.choice(_CLOSER)(r) if r.random() < 0.1 else _member(r)


def _model(r: random.Random, names: list[str]) -> type[pydantic.BaseModel]:
    """With an alias for every second member, a serializer of one and a computed member, or without."""

    def shown(_model: Any, value: Any) -> Any:
        return {str(value)} if kind == "set" else [value]

    kind, namespace = r.choice(["list", "set"]), dict[str, Any]()
    if r.random() < 0.4:
        namespace["shown"] = pydantic.field_serializer(names[0])(shown)
    if r.random() < 0.4:

        def computed(model: Any) -> Any:
            value = getattr(model, names[1])
            return {repr(value), "b", "a"} if kind == "set" else value

        computed.__annotations__["return"] = Any
        alias = r.choice([None, "Computed"])
        namespace["computed"] = pydantic.computed_field(alias=alias)(property(computed))
    for index, name in enumerate(names):
        alias = f"{name}Alias" if index % 2 else None
        namespace[name] = pydantic.Field(serialization_alias=alias, exclude=r.random() < 0.1)
    namespace["__annotations__"] = dict.fromkeys(names, Any)
    namespace["__module__"] = __name__
    config = pydantic.ConfigDict(arbitrary_types_allowed=True, extra=r.choice(["allow", "ignore"]))
    return type("Model", (pydantic.BaseModel,), {**namespace, "model_config": config})


def _objects(r: random.Random, draw: Callable[[random.Random], Any]) -> list[Any]:
    names = list(dict.fromkeys("".join(r.choices("abcXYZé", k=r.randrange(1, 5))) for _ in range(7)))
    members = {f"f{name}": draw(r) for name in names}
    kind = dataclasses.make_dataclass("D", list(members), slots=r.random() < 0.5)
    struct = msgspec.defstruct(
        "S",
        [(name, Any, r.choice([_default(member), None, ()])) for name, member in members.items()],
        rename=r.choice([None, "camel", "upper"]),
        tag=r.choice([None, "t"]),
        omit_defaults=r.random() < 0.5,
        array_like=r.random() < 0.1,
    )
    plain = kind(**members)
    if hasattr(plain, "__dict__"):
        plain.__dict__["undeclared"] = "secret"
    model, attr = _model(r, list(members)), attrs.make_class("A", list(members))
    return [members, plain, struct(**members), attr(**members), model(**members, more=draw(r))]


def _default(member: Any) -> Any:
    return member if isinstance(member, str | int | float | datetime | Decimal | Enum) else None


def _careful(value: Any) -> bytes | None:
    try:
        return canonical(encodable(value))
    except (LoadFailed, TypeError, ValueError, msgspec.MsgspecError):
        return None


@pytest.mark.parametrize("seed", range(20))
def test_the_quick_way_gives_the_same_bytes(seed: int):
    """Whatever the members are: the same, or nothing; and of what is refused nothing."""
    r = random.Random(seed)
    for _ in range(20):
        for value in _objects(r, _any):
            assert at_a_glance(value, {}) in (_careful(value), None)


@pytest.mark.parametrize("seed", range(10))
def test_the_quick_way_is_taken(seed: int):
    """Of members that JSON has a form of nothing needs a closer look, but for what a serializer makes."""
    r = random.Random(seed)
    for _ in range(20):
        for value in _objects(r, _member):
            is_quick = at_a_glance(value, {}) is not None
            assert is_quick or isinstance(value, pydantic.BaseModel) or len(encodable(value)) < 3


@pytest.mark.parametrize(
    "member",
    [
        2**53, float("nan"), -float("inf"), Decimal("NaN"), "\ud800", {1, 2}, {1: 2}, b"x", object(), (1,),
        Colour.LARGE, Colour.NONE, Odd.ONE, Off.ONE, Ratio.HALF, Part(1), Piece(1), Inner(some_value=1),
        Login(1, "secret"), msgspec.UNSET, type("Text", (str,), {})("x"), {"a": {1}},
    ],
)  # fmt: skip
def test_whatever_needs_a_closer_look_is_left_to_the_careful_way(member: Any):
    assert at_a_glance({"a": 1, "b": member}, {}) is None
    assert at_a_glance({"a": 1, "b": [{"c": member}]}, {}) is None
    assert at_a_glance(Part(1, member), {}) is None
    assert at_a_glance(Piece(1, member), {}) is None


class Sly(msgspec.Struct):
    a: int
    b: int

    def __getattribute__(self, name: str) -> Any:
        return 7 if name == "a" else object.__getattribute__(self, name)


class Copied(msgspec.Struct):
    a: int
    b: int

    def __copy__(self) -> Copied:
        return Copied(8, 8)


class Shadowed(Piece):
    first_one = property(lambda _self: 7)


class Root(pydantic.RootModel[list[int]]):
    pass


class Raising(pydantic.BaseModel):
    a: int

    @pydantic.field_serializer("a")
    def raised(self, a: int) -> str:
        raise KeyError(a)


@dataclasses.dataclass
class Late:
    a: int
    b: int = dataclasses.field(init=False)


class Single(msgspec.Struct):
    a: int


@pytest.mark.parametrize(
    "value",
    [
        Sly(1, 2), Copied(1, 2), Login(1, "secret"), Root([1]), Raising(a=1), Late(1), Single(1), "text", 1,
        Colour.RED, dataclasses.make_dataclass("L", ["a", "b"], bases=(list,))(1, 2), {1: 2}, [1],
    ],
)  # fmt: skip
def test_kinds_of_values_that_need_a_closer_look(value: Any):
    assert at_a_glance(value, {}) is None


def test_a_deep_value_needs_a_closer_look():
    value: Any = 1
    for _ in range(20):
        value = {"a": value, "b": [value]} if value == 1 else {"a": value}
    assert at_a_glance(value, {}) is None
    assert loaded_row(value).data == canonical(value)
