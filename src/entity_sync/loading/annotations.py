"""What the annotations of a loader stand for."""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_origin, get_type_hints

from entity_sync.errors import described

__all__ = ["Unresolved", "bare", "resolved"]


class Unresolved(Exception):
    """An annotation of which a name means nothing at run time; the text says which, and what to do."""


def resolved(annotation: Any, names: dict[str, Any] | None) -> Any:
    """The type that an annotation is, or that its text stands for.

    It alone is resolved: others of its function may name what exists for type checkers only.

    Args:
        names: where its names are looked up.

    Raises:
        Unresolved: it cannot be had.
    """
    alone = type("Annotated", (), {"__annotations__": {"it": annotation}})
    try:
        return get_type_hints(alone, names, include_extras=True)["it"]
    except Exception as error:  # noqa: BLE001 - the text is evaluated, and may raise anything
        raise Unresolved(
            f"annotation {annotation!r} cannot be resolved ({described(error)}): import or define that name "
            "at the top of the module, and not under TYPE_CHECKING or within a function"
        ) from None


def bare(annotation: Any) -> Any:
    """The type alone, without what ``Annotated`` says of it."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
