"""What a loader's return annotation says may be shown of an object, as of one that has no form of its own."""

from __future__ import annotations

import types
from collections import abc
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin, is_typeddict

import msgspec

from entity_sync.errors import LoadFailed
from entity_sync.loading.annotations import Unresolved, resolved
from entity_sync.loading.kinds import a, has_fields, is_mapped, is_pydantic, is_supported
from entity_sync.loading.passing import passing
from entity_sync.model import Reads, Row

__all__ = ["Shape", "shape_of"]

Shape: TypeAlias = Callable[[Any], Any]
"""Makes of an element what may be shown of it; leaves alone what is a dict, a model or the like."""

_Said: TypeAlias = tuple[type | None, Any]
"""A class and the model that its objects are shown as; None for the class of what has no form of its own."""

_SEVERAL = (
    list, tuple, abc.Sequence, abc.Iterable, abc.Iterator, abc.Generator,
    abc.AsyncIterable, abc.AsyncIterator, abc.AsyncGenerator, abc.Collection,
)  # fmt: skip
_PLAIN = (type(None), bytes, bytearray, memoryview, list, tuple, set, frozenset)
_KEYED = (dict, abc.Mapping, abc.MutableMapping)


def shape_of(function: Callable[..., Any], names: dict[str, Any] | None) -> Shape | None:
    """The shape that a loader's return annotation names, None where it names no model.

    ``Annotated[Order, OrderOut]`` says that an Order is shown as an OrderOut, whatever an Order is; a model
    alone, that objects without a form of their own are, such as an ORM's.

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
    said = list(dict.fromkeys(_said(annotation)))
    return (lambda value: _shaped(said, value)) if said else None


def _said(annotation: Any) -> Iterator[_Said]:
    """What an annotation, or a part of it, says of whose objects."""
    for leaf in _leaves(annotation):
        if get_origin(leaf) is Annotated:
            shown, *metadata = get_args(leaf)
            models = [model for one in metadata for _, model in _said(one)]
            if models:
                kinds = [_kind(one) for one in _leaves(shown) if not _is_beside(one)]
                yield from ((kind, model) for kind in kinds for model in models)
            else:
                yield from _said(shown)
        elif isinstance(leaf, type) and _is_model(leaf):
            yield None, leaf


def _leaves(annotation: Any) -> Iterator[Any]:
    """What stands in unions and collections."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        for one in arguments:
            yield from _leaves(one)
    elif origin in _SEVERAL and arguments:
        yield from _leaves(arguments[0])
    elif origin in _KEYED and arguments:
        yield from _leaves(arguments[1])
    elif type(annotation).__name__ == "TypeAliasType":  # of Python 3.12's `type X = ...`
        yield from _leaves(annotation.__value__)
    else:
        yield annotation


def _kind(annotation: Any) -> Any:
    """The class whose objects an annotation means; that of all where isinstance cannot tell."""
    kind: Any = get_origin(annotation) or annotation
    if is_typeddict(kind):
        return dict
    try:
        isinstance(None, kind)
    except TypeError:
        return object
    return kind


def _is_beside(kind: Any) -> bool:
    """Whether it is what a loader may give besides values, so that it names no model of them."""
    return isinstance(kind, type) and issubclass(kind, (Row, Reads, BaseException, type(None)))


def _is_model(kind: type) -> bool:
    declares = issubclass(kind, msgspec.Struct) or has_fields(kind) or is_pydantic(kind)
    return declares and not is_mapped(kind) and not _is_beside(kind)


def _shaped(said: Sequence[_Said], value: Any) -> Any:
    models = [] if value is None else _models_of(said, value)
    if not models or type(value) in models:
        return value
    if len(models) > 1:
        names = " and ".join(one.__qualname__ for one in models)
        raise LoadFailed(
            f"which model {a(type(value))} is shown as is not said: the return annotation names {names}, "
            "so return or yield one of them"
        )
    (model,) = models
    raised: list[Exception] = []
    try:
        shown = _converted(value, model, raised)
    except Exception as error:  # noqa: BLE001 - an attribute of it may raise anything
        raised.append(error)
        shown = None
    if not raised:
        return shown
    first = raised[0]
    cause = passing(first)
    text = f"{a(type(value))} is not shown as {model.__qualname__}: {_why(first)}"
    raise LoadFailed(text, retryable=cause is not None or _is_unread(first)) from cause


def _converted(value: Any, model: Any, raised: list[Exception]) -> Any:
    is_pydantic_model = hasattr(model, "model_validate")
    if isinstance(value, model):  # it would be taken as it is
        value = _Attributes(value, raised)
    elif not is_pydantic_model:
        value = _within(value, raised)
    if is_pydantic_model:
        return model.model_validate(value, from_attributes=True)
    return msgspec.convert(value, model, from_attributes=True)


def _is_unread(error: Any) -> bool:
    """Whether an attribute raised, of which pydantic makes an error of its own."""
    return hasattr(error, "errors") and any(one["type"] == "get_attribute_error" for one in error.errors())


def _models_of(said: Sequence[_Said], value: Any) -> list[Any]:
    """Those of the nearest class that was named with one; else, where it needs one, those named alone."""
    named = {kind for kind, _ in said if kind is not None and isinstance(value, kind)}
    if named:
        order = type(value).__mro__
        nearest = min(named, key=lambda kind: order.index(kind) if kind in order else len(order))
        return [model for kind, model in said if kind is nearest]
    if is_supported(value) and not is_mapped(type(value)):
        return []
    return [model for kind, model in said if kind is None]


class _Attributes:
    """An object whose attributes alone are looked at, and not its class, which may be one of a model's.

    What they raise is written down: msgspec takes the default of a field, or says that it is missing.
    """

    __slots__ = ("_of", "_raised")

    def __init__(self, of: object, raised: list[Exception]) -> None:
        self._of = of
        self._raised = raised

    def __getattr__(self, name: str) -> Any:
        try:
            return _within(getattr(self._of, name), self._raised)
        except AttributeError:
            raise
        except Exception as error:
            self._raised.append(error)
            raise


def _within(value: Any, raised: list[Exception]) -> Any:
    if isinstance(value, list):
        return [_within(one, raised) for one in value]
    kind = type(value)
    is_object = is_mapped(kind) or has_fields(kind) or not is_supported(value)
    return _Attributes(value, raised) if is_object else value


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
