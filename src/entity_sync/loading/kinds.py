"""Kinds of values, told apart without importing the libraries they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import chain
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET

__all__ = [
    "a", "alias_of", "dumped_of", "has_fields", "is_attrs", "is_mapped", "is_pydantic", "is_supported",
    "members", "names_of",
]  # fmt: skip

_KINDS = (dict, msgspec.Struct, str, int, float, Decimal, UUID, date, time, timedelta, Enum)


def a(kind: type) -> str:
    """Its name with its article, by the letter: "a" for each U, as in User and UUID."""
    name = kind.__qualname__
    return f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"


def is_supported(value: object) -> bool:
    """Whether it says itself which members it has, or is a scalar."""
    return isinstance(value, _KINDS) or is_pydantic(type(value)) or has_fields(type(value))


def has_fields(kind: type) -> bool:
    """Whether it is a dataclass or an attrs class."""
    return dataclasses.is_dataclass(kind) or is_attrs(kind)


def is_attrs(kind: type) -> bool:
    """Whether it is an attrs class."""
    return hasattr(kind, "__attrs_attrs__")


def is_pydantic(kind: type) -> bool:
    """Whether it is a model or a dataclass of pydantic, which serializes it as it declares."""
    return hasattr(kind, "__pydantic_decorators__")  # its HttpUrl and SecretStr have a serializer alone


def is_mapped(kind: type) -> bool:
    """Whether an ORM (SQLAlchemy, Django) maps it to a table: it has every column, shown or not."""
    return hasattr(kind, "__mapper__") or (hasattr(kind, "_meta") and hasattr(kind, "_base_manager"))


def members(value: Any) -> Iterable[tuple[str, Any]]:
    """What an object declares, by name, and nothing that it merely holds; nothing of what declares none."""
    if is_pydantic(type(value)):
        return _of_pydantic(value)
    kind: Any = type(value)
    return ((name, one) for name in names_of(kind) if (one := getattr(value, name, UNSET)) is not UNSET)


def alias_of(value: Any, name: str) -> str:
    """What pydantic calls a member of its object when it dumps it by alias; the name of any other."""
    if not is_pydantic(type(value)):
        return name
    if (field := value.__pydantic_fields__.get(name)) is not None:
        return field.serialization_alias or name
    computed = value.__pydantic_decorators__.computed_fields.get(name)
    return (computed and computed.info.alias) or name


@lru_cache(maxsize=1024)
def names_of(kind: Any) -> tuple[str, ...]:
    """Fields of a dataclass, an attrs class or a Struct; of pydantic's those that a plain subclass adds."""
    if is_attrs(kind) and ("__attrs_attrs__" in vars(kind) or not dataclasses.is_dataclass(kind)):
        names = (one.name for one in getattr(kind, "__attrs_attrs__", ()))
        return tuple(name for name in names if name[0] != "_")
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    return tuple(getattr(kind, "__struct_fields__", ()))


def _of_pydantic(value: Any) -> Iterable[tuple[str, Any]]:
    found = ((name, one) for name in dumped_of(type(value)) if (one := _read(value, name)) is not UNSET)
    return chain(found, (getattr(value, "__pydantic_extra__", None) or {}).items())


def dumped_of(kind: Any) -> list[str]:
    """What instances of a class of pydantic have serialized, by Python's names, but for extra members."""
    fields = kind.__pydantic_fields__
    names = [name for name, field in fields.items() if not field.exclude]
    names += [name for name in names_of(kind) if name not in fields]  # of a subclass that is a plain one
    return [*names, *kind.__pydantic_decorators__.computed_fields]


def _read(value: Any, name: str) -> Any:
    try:
        return getattr(value, name)
    except Exception:  # noqa: BLE001 - a property is the application's code, and fails again when it is sent
        return UNSET
