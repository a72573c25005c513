"""Values of exact built-in types in place of those of their subclasses, which could pretend to be others."""

from __future__ import annotations

from uuid import UUID

__all__ = ["exact_text", "exact_uuid"]


def exact_text(text: str) -> str:
    """The text itself where its class could show, compare or spell it as another one's."""
    return str.__str__(text)


def exact_uuid(value: UUID) -> UUID:
    """A plain UUID in place of that of a database's driver."""
    return value if type(value) is UUID else UUID(int=value.int)
