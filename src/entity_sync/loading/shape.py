"""What a loader's return annotation says may be shown of an object that has no form of its own."""

from __future__ import annotations

import types
from collections import abc
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

import msgspec

from entity_sync.errors import LoadFailed
from entity_sync.loading.annotations import Unresolved, resolved
from entity_sync.loading.kinds import a, has_fields, is_mapped, is_pydantic, is_supported
from entity_sync.model import Reads, Row

__all__ = ["Shape", "shape_of"]

Shape: TypeAlias = Callable[[Any], Any]
"""Makes of an element what may be shown of it; leaves alone what is a dict, a model or the like."""

_SEVERAL = (
    list, tuple, abc.Sequence, abc.Iterable, abc.Iterator, abc.Generator,
    abc.AsyncIterable, abc.AsyncIterator, abc.AsyncGenerator, abc.Collection,
)  # fmt: skip
_PLAIN = (type(None), bytes, bytearray, memoryview, list, tuple, set, frozenset)
_KEYED = (dict, abc.Mapping, abc.MutableMapping)


def shape_of(function: Callable[..., Any], names: dict[str, Any] | None) -> Shape | None:
    """The shape that a loader's return annotation names, None where it names no model.

    Of several models it is said that they are too many, where an object has to be shown as one; of an
    annotation that cannot be resolved, why not.

    Args:
        names: where the annotation's names are looked up.
    """
    try:
        annotation = resolved(getattr(function, "__annotations__", {}).get("return"), names)
    except Unresolved as error:  # it may name what exists for type checkers alone
        why = str(error)
        return lambda value: _unshown(why, value)
    models = list(dict.fromkeys(_models(annotation)))
    return (lambda value: _shaped(models, value)) if models else None


def _models(annotation: Any) -> list[type]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return [model for one in arguments for model in _models(one)]
    if (origin in _SEVERAL or origin is Annotated) and arguments:
        return _models(arguments[0])
    if origin in _KEYED and arguments:
        return _models(arguments[1])
    return [annotation] if isinstance(annotation, type) and _is_model(annotation) else []


def _is_beside(kind: Any) -> bool:
    """Whether it is what a loader may give besides values, so that it names no model of them."""
    return isinstance(kind, type) and issubclass(kind, (Row, Reads, BaseException, type(None)))


def _is_model(kind: type) -> bool:
    declares = issubclass(kind, msgspec.Struct) or has_fields(kind) or is_pydantic(kind)
    return declares and not is_mapped(kind) and not _is_beside(kind)


def _shaped(models: list[Any], value: Any) -> Any:
    if value is None or (is_supported(value) and not is_mapped(type(value))):
        return value
    if len(models) > 1:
        names = " and ".join(one.__qualname__ for one in models)
        raise LoadFailed(
            f"which model {a(type(value))} is shown as is not said: the return annotation names {names}, "
            "so return or yield one of them"
        )
    (model,) = models
    try:
        if hasattr(model, "model_validate"):
            return model.model_validate(value, from_attributes=True)
        return msgspec.convert(value, model, from_attributes=True)
    except Exception as error:  # noqa: BLE001 - an attribute of it may raise anything
        raise LoadFailed(f"{a(type(value))} is not shown as {model.__qualname__}: {_why(error)}") from None


def _unshown(why: str, value: Any) -> Any:
    if not isinstance(value, _PLAIN) and (is_mapped(type(value)) or not is_supported(value)):
        raise LoadFailed(f"which model {a(type(value))} is shown as is not known: the return {why}")
    return value


def _why(error: Any) -> str:
    """The reason without the object's values, which are not for the log."""
    if isinstance(error, msgspec.ValidationError):
        return str(error)  # of types and paths alone
    if not hasattr(error, "errors"):
        return type(error).__name__
    found = error.errors(include_input=False, include_context=False, include_url=False)
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in found)
