"""What an object declares, and how pydantic serializes it, decides what is sent of it: nothing else leaks."""

from __future__ import annotations

import dataclasses
from collections import deque
from functools import cached_property
from typing import Any

import attrs
import msgspec
import pydantic
import pydantic.alias_generators
import pydantic.dataclasses
import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from entity_sync.errors import LoadFailed
from entity_sync.loading.rows import Collector, RowsOf, collected
from entity_sync.loading.slices import at_once
from entity_sync.loading.values import loaded_row
from entity_sync.model import EntityKey


class Base(MappedAsDataclass, DeclarativeBase):
    """Mapped, and a dataclass: whoever takes it for one sends all its columns."""


class Login(Base):
    __tablename__ = "logins"
    id: Mapped[int] = mapped_column(primary_key=True)
    password_hash: Mapped[str]


LOGIN = Login(id=1, password_hash="secret")


def sent(value: object) -> Any:
    return msgspec.json.decode(loaded_row(value).data)


def masked(number: str) -> str:
    return f"****{number[-2:]}"


@pydantic.dataclasses.dataclass(frozen=True)
class Card:
    number: str
    pin: str = pydantic.Field(default="1234", exclude=True)

    @pydantic.field_serializer("number")
    def masked(self, number: str) -> str:
        return masked(number)

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def kind(self) -> str:
        return "debit"


@dataclasses.dataclass(frozen=True)
class Named(Card):
    """A plain dataclass that inherits what pydantic is to do."""

    name: str = "ann"


@pydantic.dataclasses.dataclass
class Whole:
    number: str

    @pydantic.model_serializer
    def masked(self) -> dict[str, str]:
        return {"masked": masked(self.number)}


@pydantic.dataclasses.dataclass
class Anything:
    thing: Any


class Wallet(msgspec.Struct, frozen=True, rename="camel", tag=True):
    the_card: Any


class Member(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True, extra="allow")

    row: Any = pydantic.Field(default=None, exclude=True)


class Owned(pydantic.BaseModel):
    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def owner(self) -> Any:
        return LOGIN


CARD = Card("41112222")
FORM = {"number": "****22", "kind": "debit"}


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (CARD, FORM),
        ({"cards": [CARD]}, {"cards": [FORM]}),
        ({"cards": {CARD}}, {"cards": [FORM]}),
        (Wallet(CARD), {"type": "Wallet", "theCard": FORM}),
        (Wallet((CARD,)), {"type": "Wallet", "theCard": [FORM]}),
        (Member.model_validate({"extra": CARD}), {"extra": FORM}),
        (Named("41112222"), {**FORM, "name": "ann"}),
        (Whole("41112222"), {"masked": "****22"}),
    ],
    ids=["itself", "list", "set", "struct", "tuple", "model", "subclass", "model_serializer"],
)
def test_a_dataclass_of_pydantic_is_serialized_by_pydantic(value: object, form: Any):
    """As FastAPI would: its serializers, computed and excluded members hold wherever it stands."""
    assert sent(value) == form


def test_what_was_returned_is_left_as_it_was():
    """What is sent of a struct is a copy: the application may use its own again."""
    wallet = Wallet([CARD])
    sent(wallet)
    assert wallet.the_card == [CARD]


class Renamed(pydantic.BaseModel, frozen=True):
    model_config = pydantic.ConfigDict(alias_generator=pydantic.alias_generators.to_camel)

    customer_id: int
    some_tags: Any = frozenset({10, 9})
    others: frozenset[Renamed] = frozenset()

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def all_tags(self) -> set[int]:
        return {10, 9}


@pydantic.dataclasses.dataclass
class RenamedToo:
    customer_id: int = pydantic.Field(serialization_alias="customerId")


RENAMED = Renamed.model_construct(customer_id=7)
CAMEL = {"customerId": 7, "someTags": [9, 10], "others": [], "allTags": [9, 10]}


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (RENAMED, CAMEL),
        ({"in": RENAMED}, {"in": CAMEL}),
        (RENAMED.model_copy(update={"others": frozenset({RENAMED})}), {**CAMEL, "others": [CAMEL]}),
        (RenamedToo(7), {"customerId": 7}),
    ],
    ids=["itself", "within", "set", "dataclass"],
)
def test_pydantic_is_sent_by_its_aliases(value: object, form: Any):
    """As FastAPI answers, and with sets in one order as before."""
    assert sent(value) == form


def test_keys_and_revisions_are_found_by_attribute():
    """An alias renames what clients get; `rows=` and `revision=` name what the loader's value has."""
    own = EntityKey("customers", "7")

    def known(entity: str, id: object) -> EntityKey:
        return EntityKey(entity, str(id))

    of = Collector(own, known, rows=RowsOf("customers", "customer_id"))
    revised = Collector(own, known, revision="customer_id")
    [row] = at_once(collected([RenamedToo(8)], of)).rows
    assert (row.key, row.data) == (EntityKey("customers", "8"), b'{"customerId":8}')
    assert at_once(collected(RenamedToo(8), revised)).revision == 8


@attrs.define(slots=False)
class Open:
    id: int
    _private: int = 2

    @cached_property
    def total(self) -> int:
        return 42


@attrs.define
class Slotted:
    id: int
    _private: int = 2

    @cached_property
    def total(self) -> int:
        return 42


@dataclasses.dataclass
class Data:
    id: int

    @cached_property
    def total(self) -> int:
        return 42


@pytest.mark.parametrize("kind", [Open, Slotted, Data])
def test_only_declared_members_are_sent(kind: Any):
    """What else an object holds, also a property that was read, is not part of the row; nor is it refused."""
    value = kind(1)
    assert sent(value) == {"id": 1}
    assert value.total == 42
    if hasattr(value, "__dict__"):
        value.login = LOGIN
    assert sent(value) == {"id": 1}
    assert sent({"in": [value]}) == {"in": [{"id": 1}]}


def test_a_member_that_is_not_set_is_not_sent():
    """msgspec's UNSET leaves a member out of dataclasses and attrs classes as of structs."""
    assert sent(attrs.make_class("Maybe", ["x"])(msgspec.UNSET)) == {}
    assert sent(Data(msgspec.UNSET)) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Owned(), r"field 'owner' is a Login of an ORM"),
        (Member.model_validate({"extra": LOGIN}), r"field 'extra' is a Login of an ORM"),
        (Member.model_validate({"extra": deque([LOGIN])}), r"field 'extra\[0\]' is a Login of an ORM"),
        ({"in": [Owned()]}, r"field 'in\[0\]\.owner' is a Login of an ORM"),
        (Anything(LOGIN), r"field 'thing' is a Login of an ORM"),
        ({"in": deque([LOGIN])}, r"field 'in\[0\]' is a Login of an ORM"),
    ],
    ids=["computed", "extra", "deque", "within", "dataclass", "queue"],
)
def test_objects_of_an_orm_are_refused_in_pydantic(value: object, text: str):
    """Computed members and those beyond the declared ones too, of which pydantic would send all columns."""
    with pytest.raises(LoadFailed, match=text):
        loaded_row(value)


def test_what_is_excluded_may_be_anything():
    """A member that pydantic leaves out is not looked at: it may hold what the others come from."""

    class Shown(Member):
        @pydantic.computed_field  # type: ignore[prop-decorator]
        @property
        def id(self) -> int:
            return int(self.row.id)

    assert sent(Shown(row=LOGIN)) == {"id": 1}
