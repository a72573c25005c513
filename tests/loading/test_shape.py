"""Objects of an ORM are shown only through a model that says what may be seen, and values have one form."""

from __future__ import annotations

import dataclasses
import enum
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias, TypedDict
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from entity_sync import AccessDenied, EntitySync, Reads, Row
from entity_sync.errors import LoadFailed
from entity_sync.loading.shape import shape_of
from entity_sync.loading.values import loaded_row
from entity_sync.testing import connect, settled

if TYPE_CHECKING:
    from tests.loading.test_values import Struct as Unknown


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    password_hash: Mapped[str]


class Account(MappedAsDataclass, DeclarativeBase):
    """Mapped, and a dataclass: it would be sent with all it has."""


class Login(Account):
    __tablename__ = "logins"
    id: Mapped[int] = mapped_column(primary_key=True)
    password_hash: Mapped[str]


class PydanticOut(pydantic.BaseModel):
    id: int
    name: str


class StructOut(msgspec.Struct):
    id: int
    name: str


@dataclasses.dataclass
class DataOut:
    id: int
    name: str


@attrs.define
class AttrsOut:
    id: int
    name: str


Shown: TypeAlias = Annotated["User", PydanticOut]

MODELS = [PydanticOut, StructOut, DataOut, AttrsOut]


def ann(id: int = 7) -> User:
    return User(id=id, name="ann", password_hash="secret")


async def shown(loader: Any, **options: Any) -> list[Any]:
    """The rows' data that a client of this loader gets, or the event it gets instead."""
    sync = EntitySync()
    sync.entity("users", **options)(loader)
    async with sync, connect(sync) as client:
        await client.subscribe("users", "7")
        await settled(sync)
        last = client.pending()[-1]
        return [row["data"] for row in last["rows"]] if "rows" in last else [last["event"]]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
async def test_only_what_the_model_names(model: type):
    """Of one, of several, of what is yielded, of a batch and of keyed rows: no other column is sent."""

    async def one(id: int):
        return ann()

    async def several(id: int):
        return [ann()]

    async def yielded(id: int):
        yield ann()

    async def batch(ids: list[int]):
        return {id: ann(id) for id in ids}

    async def optional(id: int):
        return ann()

    for loader, annotation, options in (
        (one, model, {}),
        (several, list[model], {}),  # type: ignore[valid-type]
        (yielded, AsyncIterator[model], {}),  # type: ignore[valid-type]
        (batch, Mapping[int, model], {"batch": 10}),  # type: ignore[valid-type]
        (optional, model | None, {}),
        (several, Sequence[model], {"rows": ("people", "id")}),  # type: ignore[valid-type]
    ):
        loader.__annotations__["return"] = annotation
        assert await shown(loader, **options) == [{"id": 7, "name": "ann"}]


async def test_a_model_beside_what_is_no_value():
    """Rows with keys, live queries, errors and metadata beside the model do not hide it."""

    async def one(id: int):
        return ann()

    async def yielded(id: int):
        yield ann()

    async def batch(ids: list[int]):
        return {id: ann(id) for id in ids}

    for loader, annotation, options in (
        (one, Annotated[PydanticOut, "shown"], {}),
        (one, Annotated[PydanticOut, "shown"] | None, {}),
        (yielded, AsyncIterator[PydanticOut | Reads], {}),
        (yielded, AsyncIterator[PydanticOut | Row | Reads | None], {}),
        (batch, dict[int, PydanticOut | Exception], {"batch": 10}),
        (batch, dict[int, PydanticOut | AccessDenied | None], {"batch": 10}),
    ):
        loader.__annotations__["return"] = annotation
        assert await shown(loader, **options) == [{"id": 7, "name": "ann"}]


class Admin(User):
    """A User, and more."""


class AdminOut(pydantic.BaseModel):
    id: int


@dataclasses.dataclass
class DataUser(DataOut):
    """A class that has a form, and is one of what it is to be shown as."""

    password_hash: str


@attrs.define
class AttrsUser(AttrsOut):
    password_hash: str


class StructUser(StructOut):
    password_hash: str


class PydanticUser(PydanticOut):
    password_hash: str


class HasName(Protocol):
    name: str


class Typed(TypedDict):
    id: int
    name: str
    password_hash: str


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (User, ann()),
        (User, Admin(id=7, name="ann", password_hash="secret")),
        (User | None, ann()),
        (Any, ann()),
        (HasName, ann()),
        (Login, Login(id=7, password_hash="secret")),
        (DataUser, DataUser(7, "ann", "secret")),
        (AttrsUser, AttrsUser(7, "ann", "secret")),
        (StructUser, StructUser(7, "ann", "secret")),
        (PydanticUser, PydanticUser(id=7, name="ann", password_hash="secret")),
        (Typed, {"id": 7, "name": "ann", "password_hash": "secret"}),
    ],
    ids=lambda one: getattr(one, "__name__", str(one)) if not hasattr(one, "password_hash") else "value",
)
def test_what_is_shown_of_a_class(model: Any, kind: Any, value: Any):
    """Annotated[Order, OrderOut]: an Order is shown as an OrderOut, even where it has a form of its own."""
    if kind is Login:
        value.name = "ann"

    async def loader(id: int) -> Any: ...

    loader.__annotations__["return"] = Annotated[kind, model]
    shape = shape_of(loader, None)
    assert shape is not None
    assert json.loads(loaded_row(shape(value)).data) == {"id": 7, "name": "ann"}
    assert type(shape(value)) is model
    made = shape(value)
    assert shape(made) is made


async def test_where_a_class_may_stand_with_its_model():
    """In a union, in a list, in what is yielded, as the value of a batch, and by a name of its own."""

    async def one(id: int):
        return ann()

    async def several(id: int):
        return [ann()]

    async def yielded(id: int):
        yield ann()

    async def batch(ids: list[int]):
        return {id: ann(id) for id in ids}

    for loader, annotation, options in (
        (one, Annotated[User, PydanticOut], {}),
        (one, Annotated[User, "shown", PydanticOut] | None, {}),
        (one, Annotated[User | None, PydanticOut], {}),
        (one, Annotated[User, PydanticOut] | AdminOut, {}),
        (one, Annotated[User, PydanticOut] | Annotated[Admin, AdminOut], {}),
        (several, list[Annotated[User, PydanticOut]], {}),
        (several, Annotated[list[User], list[PydanticOut]], {}),
        (several, Sequence[Annotated[User, PydanticOut]], {"rows": ("people", "id")}),
        (yielded, AsyncIterator[Annotated[User, PydanticOut] | Reads | Row | None], {}),
        (yielded, "AsyncIterator[Shown | Reads]", {}),
        (batch, dict[int, Annotated[User, PydanticOut] | Exception], {"batch": 10}),
    ):
        loader.__annotations__["return"] = annotation
        assert await shown(loader, **options) == [{"id": 7, "name": "ann"}]


async def test_each_class_with_a_model_of_its_own():
    """Of several that are named with one the nearest counts."""

    async def loader(id: int) -> list[Annotated[User, PydanticOut] | Annotated[Admin, AdminOut]]:
        return [Admin(id=7, name="ann", password_hash="secret"), ann(8)]

    assert await shown(loader, rows=("people", "id")) == [{"id": 7}, {"id": 8, "name": "ann"}]


async def test_another_class_than_the_one_that_was_named(caplog: pytest.LogCaptureFixture):
    """What may be seen of an Order says nothing of a User; the text says how to say it."""

    async def loader(id: int) -> Annotated[Login, PydanticOut]:
        return ann()  # type: ignore[return-value]

    assert await shown(loader) == ["stale"]
    assert (
        "or name a model of that in the loader's return annotation: Annotated[User, UserOut]" in caplog.text
    )


async def test_what_has_a_form_is_left_alone():
    """A dict or another model is what the application chose to show; the annotation does not change it."""

    async def loader(id: int) -> PydanticOut:
        return {"id": 7, "more": True}  # type: ignore[return-value]

    assert await shown(loader) == [{"id": 7, "more": True}]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (ann(), "the value is a User of an ORM, with all its columns: return what may be seen"),
        ({"users": [ann()]}, r"field 'users\[0\]' is a User of an ORM"),
        (Login(id=1, password_hash="secret"), "the value is a Login of an ORM"),
        (PydanticOut.model_construct(id=1, name=ann()), "field 'name' is a User of an ORM"),
        ({"a": Decimal("nan")}, "field 'a' is NaN"),
        (Decimal("inf"), "the value is Infinity"),
        (AttrsOut(1, object()), "field 'name' is an object, which has no JSON form"),  # type: ignore[arg-type]
    ],
    ids=["itself", "within", "dataclass", "pydantic", "nan", "infinity", "attrs"],
)
def test_raw_objects_are_refused(value: object, text: str):
    """Wherever they stand, and even where they look like a dataclass; the text says what to do."""
    with pytest.raises(LoadFailed, match=text):
        loaded_row(value)


async def test_a_row_with_a_key_has_no_annotation(caplog: pytest.LogCaptureFixture):
    """What rides along is not what the annotation speaks of: it is refused as it is."""

    async def loader(id: int) -> AsyncIterator[PydanticOut]:
        yield ann()  # type: ignore[misc]
        yield Row("people", 9, ann(9))  # type: ignore[misc]

    assert await shown(loader) == ["stale"]
    assert "row people/'9': the value is a User of an ORM" in caplog.text
    assert "secret" not in caplog.text


async def _two(id: int) -> PydanticOut | StructOut | None:
    return ann()  # type: ignore[return-value]


async def _two_yielded(id: int) -> AsyncIterator[PydanticOut | StructOut | Reads]:
    yield ann()  # type: ignore[misc]


@pytest.mark.parametrize("loader", [_two, _two_yielded])
async def test_two_models_are_one_too_many(loader: Any, caplog: pytest.LogCaptureFixture):
    """Which of them an object is to be shown as is not for us to guess; the text names both."""
    assert await shown(loader) == ["stale"]
    assert (
        "a User is shown as is not said: the return annotation names PydanticOut and StructOut" in caplog.text
    )


async def test_an_object_of_one_of_two_models():
    """What the loader has made itself is sent, however many models its annotation names."""

    async def loader(id: int) -> PydanticOut | StructOut:
        return StructOut(7, "ann")

    assert await shown(loader) == [{"id": 7, "name": "ann"}]


async def test_a_model_that_does_not_fit(caplog: pytest.LogCaptureFixture):
    """An object without what the model needs fails the load, naming both."""

    class Other(pydantic.BaseModel):
        email: str

    async def loader(id: int):
        return ann()

    loader.__annotations__["return"] = Other
    assert await shown(loader) == ["stale"]
    assert "a User is not shown as" in caplog.text
    assert "email: missing" in caplog.text


class Lazy:
    """An object whose database is away when it is asked of first, and back a moment later."""

    id = 7
    is_away = True

    @property
    def name(self) -> str:
        if self.is_away:
            self.is_away = False
            raise OSError("connection reset")
        return "ann"


class Team(msgspec.Struct):
    members: list[StructOut]


class Id(msgspec.Struct):
    id: int


class PydanticDefault(pydantic.BaseModel):
    id: int
    name: str = "nobody"


class StructDefault(msgspec.Struct):
    id: int
    name: str = "nobody"


@attrs.define
class AttrsDefault:
    id: int
    name: str = "nobody"


class TeamDefault(msgspec.Struct):
    members: list[StructDefault]


@pytest.mark.parametrize(
    "model",
    [*MODELS, Team, PydanticDefault, StructDefault, AttrsDefault, TeamDefault],
    ids=lambda model: model.__name__,
)
async def test_an_attribute_that_raises_once(model: type):
    """A lazy attribute whose database is away for an instant fails one attempt, of which nobody hears; nor is
    anybody shown the default in its place."""
    user = Lazy()
    is_team = model in (Team, TeamDefault)
    found = SimpleNamespace(members=[user]) if is_team else user

    async def loader(id: int):
        return found

    loader.__annotations__["return"] = model
    expected = {"id": 7, "name": "ann"}
    assert await shown(loader) == [{"members": [expected]} if is_team else expected]


@pytest.mark.parametrize("options", [{"rows": ("people", "name")}, {"revision": lambda user: len(user.name)}])
async def test_an_id_or_revision_that_raises_once(options: Any):
    """They are looked for in attributes too."""
    user = Lazy()

    async def loader(id: int):
        return user

    loader.__annotations__["return"] = Id
    assert await shown(loader, **options) == [{"id": 7}]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
async def test_no_value_of_it_is_logged(model: type, caplog: pytest.LogCaptureFixture):
    """An object that does not fit is named by its kind and the field, never by what it holds."""

    async def loader(id: int):
        return User(id="secret", name="secret", password_hash="secret")

    loader.__annotations__["return"] = model
    assert await shown(loader) == ["stale"]
    assert "a User is not shown as" in caplog.text
    assert "secret" not in caplog.text


async def _unknown(id: int) -> Unknown:
    raise NotImplementedError


async def _named(id: int) -> Annotated[User, "shown"]:
    raise NotImplementedError


class Record:
    """Stands for an object of an ORM that is not known to be one."""

    id, name = 7, "ann"


@pytest.mark.parametrize("value", [ann(), Record()], ids=["mapped", "object"])
async def test_an_annotation_that_cannot_be_resolved(value: Any, caplog: pytest.LogCaptureFixture):
    """The log says which name means nothing at run time; what has a form of its own is sent all the same."""

    async def loader(id: int) -> AsyncIterator[Unknown | Reads]:
        yield value

    assert await shown(loader) == ["stale"]
    kind = type(value).__name__
    assert (
        f"which model a {kind} is shown as is not known: the return annotation "
        "'AsyncIterator[Unknown | Reads]' cannot be resolved (NameError: name 'Unknown' is not defined): "
        "import or define that name at the top of the module"
    ) in caplog.text


@pytest.mark.parametrize("value", [{"id": 7}, StructOut(7, "ann"), b"[7]", "ann", True])
def test_what_needs_no_annotation(value: Any):
    """It is shown whether the annotation can be resolved or not, and so is what says better what is wrong."""
    shape = shape_of(_unknown, _unknown.__globals__)
    assert shape is not None
    assert shape(value) is value
    assert shape(None) is None
    assert shape([ann()]) is not None


async def _mapped(id: int) -> User:
    raise NotImplementedError


async def _rows(id: int) -> AsyncIterator[Row | Reads]:
    raise NotImplementedError
    yield


async def _row(id: int) -> AsyncIterator[Row]:
    raise NotImplementedError
    yield


async def _plain(id: int) -> dict[str, Any]:
    raise NotImplementedError


async def _nothing(id: int):
    raise NotImplementedError


@pytest.mark.parametrize(
    "loader", [_mapped, _named, _rows, _row, _plain, _nothing], ids=lambda one: one.__name__
)
def test_annotations_that_name_no_model(loader: Any):
    """They neither break the registration nor show anything."""
    assert shape_of(loader, loader.__globals__) is None


# Forms


class Colour(enum.Enum):
    RED = "red"


FORMS = {
    "decimal": (Decimal("1.50"), '"1.50"'),
    "uuid": (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
    "datetime": (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), '"2026-01-02T03:04:00Z"'),
    "date": (date(2026, 1, 2), '"2026-01-02"'),
    "timedelta": (timedelta(seconds=90), '"PT90S"'),
    "enum": (Colour.RED, '"red"'),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms(name: str):
    """As a value, and as a member, by name and by key where keys are texts."""
    value, text = FORMS[name]
    assert loaded_row(value).data.decode() == text
    assert loaded_row({"a": [value]}).data.decode() == f'{{"a":[{text}]}}'
    if name != "timedelta":
        assert loaded_row({value: 1}).data.decode() == f"{{{text}:1}}"


def test_bytes_within_are_base64():
    """Bytes are JSON as a whole value only."""
    assert loaded_row({"a": b"abc"}).data == b'{"a":"YWJj"}'


@pytest.mark.parametrize(
    "value",
    [{1: 1, "1": 2}, {Colour.RED: 1, "red": 2}, {UUID(int=1): 1, str(UUID(int=1)): 2}],
    ids=["int", "enum", "uuid"],
)
def test_two_members_with_one_name(value: dict[Any, Any]):
    """JSON would keep one of them: the load fails, and their types are named."""
    with pytest.raises(LoadFailed, match=r"field 'a' has two names, an? \w+ and a str, that are one in JSON"):
        loaded_row({"a": value})


_SETS = """
from decimal import Decimal; from uuid import UUID; import attrs
from entity_sync.loading.values import loaded_row
@attrs.define
class P: a: object
print(loaded_row({"d": frozenset(map(Decimal, range(20))), "u": {UUID(int=i) for i in range(20)},
                  "p": P({"x", "y", "z"})}).data.decode())
"""


def test_the_hash_seed_changes_nothing():
    """Sets of what hashes by the seed come in one order in every process."""
    found = {
        subprocess.run(
            [sys.executable, "-c", _SETS], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(found) == 1
