"""What may be registered, who shares a load, and what a load is given."""

from __future__ import annotations

import asyncio
import functools
import inspect
import operator
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from uuid import UUID

import pytest

from entity_sync.errors import AccessDenied, BadId, ConfigurationError, UnknownEntity
from entity_sync.loading.catalog import Catalog
from entity_sync.loading.ids import ID_TYPES
from entity_sync.loading.loader import Loader
from entity_sync.model import EVERYONE, EntityKey

if TYPE_CHECKING:
    from nowhere import OnlyForTypes  # type: ignore[import-not-found]


def known(entity: str, id: object) -> EntityKey:
    """The key of a row, for loaders that return none."""
    return EntityKey(entity, str(id))


def loader(function: Callable[..., Any], name: str = "items", **options: Any) -> Loader:
    return Loader.of(name, function, **{"per": None, "public": False, "timeout": 1.0, **options})


async def in_thread(_entity: str, function: Callable[..., Any], *arguments: object) -> Any:
    return await asyncio.to_thread(function, *arguments)


async def by_str(id: str) -> dict[str, Any]:
    return {"id": id}


async def by_int(id: int) -> dict[str, Any]:
    return {"id": id, "kind": type(id).__name__}


async def by_uuid(id: UUID) -> dict[str, Any]:
    return {"id": id, "kind": type(id).__name__}


async def annotated(id: Annotated[int, "of an order"]) -> int:
    return id


async def unannotated(id):
    return {"id": id, "kind": type(id).__name__}


async def with_audience(id: str, audience: OnlyForTypes) -> OnlyForTypes:
    return {"id": id, "for": audience}


async def positional_only(id: int, /) -> dict[str, Any]:
    return {"id": id}


UUID_TEXT = "12345678-9abc-def0-1234-56789abcdef0"
UUID_ROW = b'{"id":"12345678-9abc-def0-1234-56789abcdef0","kind":"UUID"}'


class Callable_:  # noqa: N801 - an object, not a function
    async def __call__(self, id: int) -> dict[str, Any]:
        return {"id": id, "kind": type(id).__name__}


def elsewhere(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator of a module that does not know this one's names."""
    names: dict[str, Any] = {"functools": functools}
    source = """
def decorate(function):
    @functools.wraps(function)
    async def wrapper(*arguments):
        return await function(*arguments)
    return wrapper
"""
    exec(source, names)
    decorated: Callable[..., Any] = names["decorate"](function)
    return decorated


class ByUuid:
    async def __call__(self, id: UUID) -> dict[str, Any]:
        return {"id": id, "kind": type(id).__name__}

    async def load(self, id: UUID) -> dict[str, Any]:
        return await self(id)


class DecoratedByUuid:
    __call__ = elsewhere(ByUuid.__call__)


async def of_database(database: str, id: UUID) -> dict[str, Any]:
    return {"id": id, "kind": type(id).__name__, "database": database}


@pytest.mark.parametrize(
    ("function", "kind", "takes_audience"),
    [
        (by_str, str, False),
        (by_int, int, False),
        (by_uuid, UUID, False),
        (unannotated, str, False),
        (with_audience, str, True),
        (positional_only, int, False),
        (lambda id: {"id": id}, str, False),
        (Callable_(), int, False),
        (SimpleNamespace(load=by_int).load, int, False),
        (functools.partial(by_uuid), UUID, False),
        (functools.partial(of_database, "main"), UUID, False),
        (functools.partial(functools.partial(elsewhere(of_database), "main")), UUID, False),
        (elsewhere(by_uuid), UUID, False),
        (functools.lru_cache(by_uuid), UUID, False),
        (annotated, int, False),
        (ByUuid(), UUID, False),
        (ByUuid().load, UUID, False),
        (DecoratedByUuid(), UUID, False),
    ],
)
def test_signatures(function: Callable[..., Any], kind: type, takes_audience: bool):
    """One or two parameters of any callable, the id annotated with nothing, str, int or UUID."""
    found = loader(function)
    assert (found.id_type, found.takes_audience) == (ID_TYPES[kind], takes_audience)


def no_parameter() -> None: ...
def three(id: str, audience: str, more: str) -> None: ...
def many(*ids: str) -> None: ...
def keywords(**ids: str) -> None: ...
def keyword_only(*, id: str) -> None: ...
def a_list(ids: list[str]) -> None: ...
def a_float(id: float) -> None: ...
def optional(id: int | None) -> None: ...
def a_bool(id: bool) -> None: ...
def unknown_name(id: OnlyForTypes) -> None: ...


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (no_parameter, r"a loader takes \(id\) or \(id, audience\), not \(\)"),
        (three, r"a loader takes \(id\) or \(id, audience\), not \(id: 'str', audience: 'str', more"),
        (many, r"a loader takes \(id\) or \(id, audience\), not \(\*ids"),
        (keywords, r"a loader takes \(id\) or \(id, audience\), not \(\*\*ids"),
        (keyword_only, r"a loader takes \(id\) or \(id, audience\), not \(id"),
        (
            functools.partial(with_audience, audience="all"),
            r"a loader takes \(id\) or \(id, audience\), not \(id",
        ),
        (a_list, r"'ids' is annotated list\[str\]; an id is .* at once, give batch="),
        (a_float, r"annotated float; an id is a str, an int or a UUID"),
        (optional, r"annotated int \| None; an id is a str, an int or a UUID"),
        (a_bool, r"annotated bool; an id is a str, an int or a UUID"),
        (
            unknown_name,
            r"'id' has no known type: annotation 'OnlyForTypes' cannot .* not defined\): import or",
        ),
    ],
)
def test_unusable_signatures(function: Callable[..., Any], text: str):
    """Any other signature is refused at registration, naming the entity and what a loader takes."""
    with pytest.raises(ConfigurationError, match=f"entity 'items': .*{text}"):
        loader(function)


def a_set(ids: set[int]) -> None: ...
def several_or_none(ids: list[int] | None) -> None: ...
def any_list(ids: list) -> None: ...  # type: ignore[type-arg]
def floats(ids: list[float]) -> None: ...
def a_sequence(ids: Sequence[int]) -> None: ...
def annotated_ids(ids: Annotated[list[Annotated[int, "of an order"]], "at once"]) -> None: ...


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (by_int, r"'id' is annotated int; .* with batch= a loader takes a list of them, list\[int\]$"),
        (by_uuid, r"'id' is annotated UUID; .* a list of them, list\[UUID\]$"),
        (a_set, r"'ids' is annotated set\[int\]; .* a list of them$"),
        (several_or_none, r"annotated list\[int\] \| None; .* a list of them$"),
        (any_list, r"annotated list; .* a list of them$"),
        (floats, r"annotated list\[float\]; .* a list of them$"),
    ],
)
def test_a_batch_of_what_is_no_list(function: Callable[..., Any], text: str):
    """With batch= the loader is given a list of ids, so another annotation is refused at registration."""
    with pytest.raises(ConfigurationError, match=f"entity 'items': its .*{text}"):
        loader(function, batch=10)


@pytest.mark.parametrize(
    ("function", "kind"), [(a_list, str), (a_sequence, int), (unannotated, str), (annotated_ids, int)]
)
def test_lists_of_ids(function: Callable[..., Any], kind: type):
    """Whatever annotation a list can be handed over for is taken, and none at all."""
    assert loader(function, batch=10).id_type == ID_TYPES[kind]


@pytest.mark.parametrize("function", [None, 5, "items", getattr, dict, object()])
def test_no_function(function: Any):
    """What is no function, or tells no signature, is refused by our error, saying what to register."""
    with pytest.raises(
        ConfigurationError, match=r"entity 'items': a loader (is a function of|takes) \(id\) or"
    ):
        loader(function)


class Compiled:
    """An object called without Python code, whose signature is only told."""

    __call__ = operator.itemgetter("x")
    __signature__ = inspect.Signature(
        [inspect.Parameter("id", inspect.Parameter.POSITIONAL_ONLY, annotation="Nowhere")]
    )


def test_a_name_that_nothing_resolves():
    """An annotation that cannot be resolved is shown as it was written, with the reason."""
    with pytest.raises(
        ConfigurationError, match=r"annotation 'Nowhere' cannot be resolved \(NameError: name"
    ):
        loader(Compiled())


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "x" * 64])
def test_names(name: str):
    """Names of 1 to 64 of A-Z a-z 0-9 _ . - are taken."""
    assert loader(by_str, name).name == name


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a/b", "é", "a\n", "a:b", "٣"])
def test_unusable_names(name: str):
    """A name that not every broker can carry is refused, saying which are allowed."""
    with pytest.raises(ConfigurationError, match="1 to 64 of A-Z a-z 0-9"):
        loader(by_str, name)


NO_SECONDS = [-1.0, float("nan"), float("inf"), True, "5", Decimal("0.5"), timedelta(seconds=5)]


@pytest.mark.parametrize(
    ("option", "least", "values"),
    [
        ("timeout", "positive", [None, 0, *NO_SECONDS]),
        ("refresh_every", "positive", [0, *NO_SECONDS]),
        ("min_interval", "0 or more", [None, *NO_SECONDS]),
    ],
)
def test_unusable_seconds(option: str, least: str, values: list[Any]):
    """What cannot be counted with, or waited for, is refused, naming entity, option and value."""
    for value in values:
        text = f"entity 'items': {option} must be {least}, seconds as a number, not {value!r}"
        with pytest.raises(ConfigurationError, match=re.escape(text)):
            loader(by_str, **{option: value})


def test_seconds():
    """Whole ones and parts are taken, no pause at all, and no refreshing."""
    found = loader(by_str, timeout=2, min_interval=0, refresh_every=0.5)
    assert (found.timeout, found.min_interval, found.refresh_every) == (2, 0, 0.5)
    assert loader(by_str, refresh_every=None).refresh_every is None


@pytest.mark.parametrize("revision", [3, True, ("version",)])
def test_unusable_revision(revision: Any):
    """A revision that could not be found in any value is refused, saying what it is."""
    with pytest.raises(ConfigurationError, match=r"'items': revision= is the name of a member .*, not"):
        loader(by_str, revision=revision)


def test_per_needs_an_audience():
    """per= without a second parameter would load one viewer's rows for all: refused."""
    with pytest.raises(ConfigurationError, match=r"has per=, so its loader takes \(id, audience\)"):
        loader(by_str, per=lambda user: user)


def test_audience_of_everyone():
    """A loader of an id alone has one audience, whoever the principal is."""
    assert {loader(by_str).audience(principal) for principal in ("ann", None)} == {EVERYONE}


def test_audience_of_one_principal():
    """Without per the audience is the principal's key: itself, or its attribute."""
    assert loader(with_audience).audience("ann") == "ann"
    assert loader(with_audience).audience(SimpleNamespace(key="ann")) == "ann"


@pytest.mark.parametrize("principal", [None, 5, SimpleNamespace(), SimpleNamespace(key=5)])
def test_principal_without_a_key(principal: object):
    """A principal without a string key has no audience: denied, saying what to return."""
    with pytest.raises(AccessDenied, match="authenticate returned"):
        loader(with_audience).audience(principal)


@pytest.mark.parametrize("audience", ["red", 5, True, None, UUID(UUID_TEXT), (), ("red", (5, None))])
def test_plain_audiences(audience: object):
    """per may make any plain value, or a tuple of them."""
    assert loader(with_audience, per=lambda _user: audience).audience("ann") == audience


class Masked(str):
    """A str that shows nobody what it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"

    def __iter__(self) -> Iterator[str]:
        return iter("***")


class Scope(NamedTuple):
    tenant: object

    def __repr__(self) -> str:
        return "Scope(***)"


class DriverUuid(UUID):
    """As database drivers have them."""


def exactly(value: object) -> object:
    """The value with its types, which equality does not tell."""
    return (type(value), [exactly(one) for one in value] if isinstance(value, tuple) else repr(value))


@pytest.mark.parametrize(
    ("made", "audience"),
    [
        (Masked("red"), "red"),
        (Scope("red"), ("red",)),
        (Scope((Scope(Masked("r")), 5)), ((("r",), 5),)),
        (DriverUuid(UUID_TEXT), UUID(UUID_TEXT)),
    ],
)
def test_audiences_that_could_pretend(made: object, audience: object):
    """Of a value whose class could show it as another's, its loader and its view get the plain one."""
    assert exactly(loader(with_audience, per=lambda _user: made).audience("ann")) == exactly(audience)


class Detached:
    """As an object of an ORM whose session is closed."""

    @property
    def key(self) -> str:
        raise RuntimeError("not bound to a session")


def test_principal_whose_key_raises():
    """It is denied, and the cause is kept for the log."""
    with pytest.raises(
        AccessDenied, match="the key of a principal, a Detached, raised RuntimeError"
    ) as caught:
        loader(with_audience).audience(Detached())
    assert isinstance(caught.value.__cause__, RuntimeError)


class Proxy:
    """As an object that stands for another one, which it cannot find when somebody looks."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise LookupError("outside of a request")


def test_proxies_that_raise():
    """A principal's key, or what per makes, that raises when it is looked at is denied."""
    with pytest.raises(AccessDenied, match="the key of a principal, a SimpleNamespace, raised LookupError"):
        loader(with_audience).audience(SimpleNamespace(key=Proxy()))
    with pytest.raises(AccessDenied, match="'items': per= made a Proxy, which raised LookupError at "):
        loader(with_audience, per=lambda _user: Proxy()).audience("ann")


def test_principals_that_could_pretend():
    """A principal's key is an exact str, whatever str it was."""
    for principal in (Masked("ann"), SimpleNamespace(key=Masked("ann"))):
        assert exactly(loader(with_audience).audience(principal)) == exactly("ann")


@pytest.mark.parametrize("audience", [[], {}, object(), 1.5, b"x", ("red", []), Scope([]), 2**128, -(2**200)])
def test_audiences_that_are_objects(audience: object):
    """An object could carry one viewer's rights into another's load, so it is denied, and named."""
    text = r"'items': per= made a [\w ]+, not a str, int of 128 bits, bool, UUID, None or"
    with pytest.raises(AccessDenied, match=text):
        loader(with_audience, per=lambda _user: audience).audience("ann")


def test_audiences_that_have_no_end():
    """A tuple that holds itself by way of another, or is nested as deep, is denied."""
    deep: tuple[object, ...] = ("red",)
    for _ in range(7):
        deep = (deep,)
    assert exactly(loader(with_audience, per=lambda _user: deep).audience("ann")) == exactly(deep)
    deep = (deep,)
    with pytest.raises(AccessDenied, match="nested deeper than 8"):
        loader(with_audience, per=lambda _user: deep).audience("ann")


class Role(StrEnum):
    ADMIN = "admin"


def test_audiences_of_an_enum():
    """A member is no plain value, and a loader that compares with one would be misled by its text."""
    with pytest.raises(AccessDenied, match="'items': per= made a Role, an Enum: return its value"):
        loader(with_audience, per=lambda _user: Role.ADMIN).audience("ann")


def test_per_that_raises():
    """A per that raises denies, and its error is the cause."""
    with pytest.raises(AccessDenied, match="per= raised AttributeError") as caught:
        loader(with_audience, per=lambda user: user.tenant).audience("ann")
    assert isinstance(caught.value.__cause__, AttributeError)


@pytest.mark.parametrize(
    ("function", "id", "row"),
    [
        (by_str, "7", b'{"id":"7"}'),
        (by_int, "7", b'{"id":7,"kind":"int"}'),
        (unannotated, "7", b'{"id":"7","kind":"str"}'),
        (with_audience, "7", b'{"for":"red","id":"7"}'),
        (positional_only, "7", b'{"id":7}'),
        (lambda id: {"id": id}, "7", b'{"id":"7"}'),
        (Callable_(), "7", b'{"id":7,"kind":"int"}'),
        (functools.partial(of_database, "main"), UUID_TEXT, b'{"database":"main",' + UUID_ROW[1:]),
        (elsewhere(by_uuid), UUID_TEXT, UUID_ROW),
        (lambda id: by_str(id), "7", b'{"id":"7"}'),  # noqa: PLW0108 - a wrapper of a coroutine function
    ],
)
async def test_arguments(function: Callable[..., Any], id: str, row: bytes):
    """A loader gets its id parsed and, if it takes one, the audience; it may be plain or async."""
    found = await loader(function).load(EntityKey("items", id), "red", in_thread, known)
    assert found.rows[0].data == row


async def test_plain_functions_run_in_a_thread():
    """A plain function does not run on the event loop's thread."""
    seen: list[int] = []
    await loader(lambda _id: seen.append(threading.get_ident())).load(
        EntityKey("items", "1"), (), in_thread, known
    )
    assert seen != [threading.get_ident()]


async def refuse(id: str) -> None:
    raise AccessDenied


def refuse_plainly(id: str) -> None:
    raise AccessDenied


@pytest.mark.parametrize("function", [refuse, refuse_plainly])
async def test_denied_is_gone(function: Callable[..., Any]):
    """What AccessDenied makes of a key has the version of one that there is not, and no notify covers it."""
    denied = await loader(function).load(EntityKey("items", "1"), (), in_thread, known)
    nothing = await loader(lambda _id: None).load(EntityKey("items", "1"), (), in_thread, known)
    assert (denied.gone, denied.version) == (True, nothing.version)
    assert (denied.denied, nothing.denied) == (True, False)


async def test_classic_text_reaches_a_str_loader():
    """An id that only the classic wire allows is handed to a str loader as it is."""
    found = await loader(by_str).load(EntityKey("items", ""), (), in_thread, known)
    assert found.rows[0].data == b'{"id":""}'


def test_catalog():
    """Names are registered once, looked up with the canonical id, and unknown ones name the known."""
    catalog = Catalog()
    catalog.add(loader(by_int, "items"))
    catalog.add(loader(by_str, "users"))
    assert catalog.names == ("items", "users")
    assert [one.name for one in catalog] == ["items", "users"]
    assert catalog.key("items", 7) == catalog.resolve("items", "7", "v2") == EntityKey("items", "7")
    with pytest.raises(ConfigurationError, match="'items' is registered twice"):
        catalog.add(loader(by_str, "items"))
    for look_up in (lambda: catalog.key("orders", 1), lambda: catalog.resolve("orders", "1", "v2")):
        with pytest.raises(UnknownEntity, match=r"'orders' is not registered \(registered: items, users\)"):
            look_up()
    with pytest.raises(BadId):
        catalog.resolve("items", "07", "v2")
