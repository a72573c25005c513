"""Reading the signature of a load function, and checking what was declared beside it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, get_args, get_origin

from entity_sync.errors import ConfigurationError
from entity_sync.loading.annotations import Unresolved, bare, resolved
from entity_sync.loading.ids import ID_TYPES, IdType

__all__ = [
    "check_authorize",
    "check_batch",
    "check_declared",
    "check_revision",
    "check_seconds",
    "globals_of",
    "id_type_of",
    "is_async",
    "parameters_of",
]


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine, also where it is an object with an async ``__call__``."""
    return any(inspect.iscoroutinefunction(one) for one in (function, type(function).__call__))


def check_seconds(name: str, *, timeout: object, min_interval: object, refresh_every: object) -> None:
    """They are numbers to count with, finite and not negative; only ``min_interval`` may be zero.

    Raises:
        ConfigurationError: one is not.
    """
    for option, seconds, least in (
        ("timeout", timeout, "positive"),
        ("min_interval", min_interval, "0 or more"),
        ("refresh_every", 1 if refresh_every is None else refresh_every, "positive"),
    ):
        number = seconds if isinstance(seconds, int | float) and not isinstance(seconds, bool) else -1
        if not 0 <= number < inf or (number == 0 and least == "positive"):
            raise ConfigurationError(
                f"entity {name!r}: {option} must be {least}, seconds as a number, not {seconds!r}"
            )


def check_authorize(name: str, authorize: Callable[..., Any], *, public: bool) -> None:
    """It can be asked of a principal and a key, and is not contradicted.

    Raises:
        ConfigurationError: it cannot, or is.
    """
    if public:
        raise ConfigurationError(f"entity {name!r}: public=True lets everybody see what authorize= guards")
    try:
        inspect.signature(authorize).bind(None, None)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"entity {name!r}: authorize= takes (principal, key): {error}") from None


def check_declared(name: object, per: object, rows: object) -> None:
    """The name is one, not the function of a decorator without parentheses; the others can be used.

    Raises:
        ConfigurationError: they are not.
    """
    if not isinstance(name, str):
        called = getattr(name, "__name__", "name")
        raise ConfigurationError(f'an entity has a name, not {name!r}: write @sync.entity("{called}")')
    if per is not None:
        _check_per(name, per)
    if rows is not None and not _is_rows(rows):
        raise ConfigurationError(
            f'entity {name!r}: rows= is a pair like ("orders", "id"), an entity\'s name and where the id is, '
            f"a name or a function, not {rows!r}"
        )


def _check_per(name: str, per: object) -> None:
    if not callable(per):
        raise ConfigurationError(f"entity {name!r}: per= is a function of the principal, not {per!r}")
    if is_async(per):
        raise ConfigurationError(
            f"entity {name!r}: per= is async, and is called without await: give a plain function of what "
            "authenticate has looked up"
        )
    with suppress(ValueError):  # a function in C may not tell what it takes
        try:
            inspect.signature(per).bind(None)
        except TypeError as error:
            raise ConfigurationError(f"entity {name!r}: per= takes (principal): {error}") from None


def _is_rows(rows: object) -> bool:
    if not isinstance(rows, tuple | list) or len(rows) != 2:
        return False
    entity, id = rows
    return isinstance(entity, str) and (isinstance(id, str) or callable(id))


def check_revision(name: str, revision: object, rows: str) -> None:
    """``revision=`` can be found, and the elements that ``rows=`` makes rows can be the view's own.

    Raises:
        ConfigurationError: it, or they, cannot.
    """
    if revision is None:
        return
    if not (isinstance(revision, str) or callable(revision)):
        raise ConfigurationError(
            f"entity {name!r}: revision= is the name of a member or attribute, or a function of the value, "
            f"not {revision!r}"
        )
    if rows != name:
        raise ConfigurationError(
            f"entity {name!r}: revision= is that of the view's own value, and rows= makes every element "
            f"one of {rows!r}: leave out one of them"
        )


def check_batch(name: str, function: Callable[..., Any], batch: object) -> None:
    """It is a number of keys, and the function can answer for several.

    Raises:
        ConfigurationError: it is not, or cannot.
    """
    if batch is None:
        return
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise ConfigurationError(f"entity {name!r}: batch is how many ids one call may be for, not {batch!r}")
    written = inspect.unwrap(function)
    if inspect.isasyncgenfunction(written) or inspect.isgeneratorfunction(written):
        raise ConfigurationError(
            f"entity {name!r}: a batch loader returns a mapping of ids to values, and does not yield"
        )


def parameters_of(name: str, function: Callable[..., Any], *, has_per: bool) -> list[str]:
    """The names of a load function's parameters: the id's, and the audience's where it takes one.

    Raises:
        ConfigurationError: they are others.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"entity {name!r}: a loader is a function of (id) or (id, audience), not {function!r}"
        ) from None
    positional = all(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in parameters)
    if len(parameters) not in (1, 2) or not positional:
        names = ", ".join(str(one) for one in parameters)
        raise ConfigurationError(f"entity {name!r}: a loader takes (id) or (id, audience), not ({names})")
    found = [one.name for one in parameters]
    if found[0] in ("self", "cls"):
        raise ConfigurationError(
            f"entity {name!r}: a loader takes (id), not ({found[0]}): register a bound method"
        )
    if len(found) == 2 and parameters[1].default is not inspect.Parameter.empty:
        raise ConfigurationError(
            f"entity {name!r}: {found[1]!r} has a default, and the second parameter is the audience"
        )
    if has_per and len(found) == 1:
        raise ConfigurationError(f"entity {name!r} has per=, so its loader takes (id, audience), not {found}")
    return found


def id_type_of(name: str, function: Callable[..., Any], parameter: str, *, is_batch: bool) -> IdType:
    """What the id, or each of a batch's ids, is annotated with: a str where nothing is said.

    Raises:
        ConfigurationError: it is something else.
    """
    written: Any = inspect.signature(function).parameters[parameter].annotation
    if written is inspect.Parameter.empty:
        written = list[str] if is_batch else str
    try:
        annotation = bare(resolved(written, globals_of(function)))
    except Unresolved as error:
        raise ConfigurationError(f"entity {name!r}: its {parameter!r} has no known type: {error}") from None
    several = _ids_of(annotation)
    found = several if is_batch else _id_type(annotation)
    if found is not None:
        return found
    shown, hint = _shown(annotation), ""
    if is_batch:
        one = _id_type(annotation)
        hint = f": with batch= a loader takes a list of them{f', list[{shown}]' if one else ''}"
    elif several:
        hint = ". For a loader of many ids at once, give batch="
    raise ConfigurationError(
        f"entity {name!r}: its {parameter!r} is annotated {shown}; an id is a str, an int or a UUID{hint}"
    )


def _id_type(annotation: Any) -> IdType | None:
    return ID_TYPES.get(annotation) if isinstance(annotation, type) else None


def _ids_of(annotation: Any) -> IdType | None:
    """The type of each id, if it is a list of them that may be handed over."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    is_list = isinstance(origin, type) and issubclass(list, origin) and len(arguments) == 1
    return _id_type(bare(arguments[0])) if is_list else None


def _shown(annotation: Any) -> str:
    return annotation.__qualname__ if type(annotation) is type else repr(annotation)


def globals_of(function: Any) -> dict[str, Any] | None:
    """The names where the function that has the signature was written, whatever wraps it."""
    written = inspect.unwrap(function)
    if isinstance(written, partial):
        return globals_of(written.func)
    if not hasattr(written, "__globals__"):
        written = inspect.unwrap(type(written).__call__)
    return getattr(written, "__globals__", None)
