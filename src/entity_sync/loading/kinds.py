"""Kinds of values, told apart without importing the libraries they come from."""

from __future__ import annotations

import dataclasses
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

__all__ = ["a", "fields", "hides", "is_attrs", "is_mapped", "is_pydantic", "is_supported"]

_KINDS = (dict, msgspec.Struct, str, int, float, Decimal, UUID, date, time, timedelta, Enum)


def a(kind: type) -> str:
    """Its name with its article, by the letter: "a" for each U, as in User and UUID."""
    name = kind.__qualname__
    return f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"


def is_supported(value: object) -> bool:
    """Whether it says itself which members it has, or is a scalar."""
    kind = type(value)
    return (
        isinstance(value, _KINDS)
        or (dataclasses.is_dataclass(value) and not isinstance(value, type))
        or is_attrs(kind)
        or is_pydantic(kind)
    )


def is_attrs(kind: type) -> bool:
    """Whether it is an attrs class."""
    return hasattr(kind, "__attrs_attrs__")


def is_pydantic(kind: type) -> bool:
    """Whether it is a pydantic model."""
    return hasattr(kind, "__pydantic_serializer__") and hasattr(kind, "model_dump")


def is_mapped(kind: type) -> bool:
    """Whether an ORM (SQLAlchemy, Django) maps it to a table: it has every column, shown or not."""
    return hasattr(kind, "__mapper__") or (hasattr(kind, "_meta") and hasattr(kind, "_base_manager"))


def hides(value: Any) -> bool:
    """Whether it is a dataclass of pydantic with members that only pydantic would leave out."""
    if not dataclasses.is_dataclass(value):
        return False
    return any(getattr(one, "exclude", None) for one in getattr(value, "__pydantic_fields__", {}).values())


def fields(value: Any) -> list[str]:
    """The names of an object's declared members."""
    declared = ("__struct_fields__", "__dataclass_fields__", "__pydantic_fields__")
    names = [name for attribute in declared for name in getattr(value, attribute, ())]
    return names or [one.name for one in getattr(value, "__attrs_attrs__", ())]
