"""Ids: one canonical spelling for each, so that equal ids are equal keys everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from entity_sync.errors import BadId
from entity_sync.loading.exact import exact_text, exact_uuid
from entity_sync.model import Wire

__all__ = ["ID_TYPES", "IdType", "canonical_id", "id_text"]

_INTEGER = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_MAX_BYTES = 256
_MAX_DIGITS = 40


@dataclass(frozen=True, slots=True)
class IdType:
    """One type an id can be annotated with.

    Attributes:
        name: the annotation.
        spell: a Python value, also of a subclass → its canonical text; raises ValueError.
        parse: canonical text → the value a loader gets; raises ValueError for any other text.
    """

    name: str
    spell: Callable[[object], str]
    parse: Callable[[str], object]

    def canonical(self, entity: str, text: str, wire: Wire) -> str:
        """Check an id as a client sent it.

        Raises:
            BadId: it is not the canonical spelling. A classic client may use any text for a
                str id, as the Go original lets it.
        """
        if self is _STR and wire == "classic":
            return text
        try:
            self.parse(text)
        except ValueError as error:
            raise BadId(entity, str(error)) from None
        return text

    def canonical_of(self, entity: str, value: object) -> str:
        """The canonical text of an id handed to ``notify``.

        Raises:
            BadId: the value is not of this type, or a text that is not canonical.
        """
        text = self.text_of(entity, value)
        try:
            self.parse(text)
        except ValueError as error:
            raise BadId(entity, str(error)) from None
        return text

    def text_of(self, entity: str, value: object) -> str:
        """The text of an id, whether or not it is canonical.

        Raises:
            BadId: the value is neither of this type nor a text.
        """
        try:
            return exact_text(value) if isinstance(value, str) else self.spell(value)
        except ValueError as error:
            raise BadId(entity, str(error)) from None


def _parse_str(text: str) -> str:
    if not 1 <= len(text.encode("utf-8", "surrogatepass")) <= _MAX_BYTES:
        raise ValueError(f"an id has 1 to {_MAX_BYTES} bytes of UTF-8")
    if _CONTROL.search(text):
        raise ValueError("an id has no control characters")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("an id has no lone surrogates")
    return text


def _parse_int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"an integer id has at most {_MAX_DIGITS} characters")
    if not _INTEGER.fullmatch(text):
        raise ValueError("an integer id is spelled in plain decimal digits without leading zeros")
    return int(text)


def _parse_uuid(text: str) -> UUID:
    try:
        value = UUID(text)
    except ValueError:
        value = None
    if value is None or str(value) != text:
        raise ValueError("a UUID id is spelled in lower case with hyphens")
    return value


def _spell_str(value: object) -> str:
    raise _unexpected("str", value)  # one that is has its own spelling


def _spell_int(value: object) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _unexpected("int", value)
    return int.__repr__(value)  # of an IntEnum too


def _spell_uuid(value: object) -> str:
    if not isinstance(value, UUID):
        raise _unexpected("UUID", value)
    return str(exact_uuid(value))


def _unexpected(expected: str, value: object) -> ValueError:
    return ValueError(f"expected {expected}, got {_name(type(value))}")


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


_STR = IdType("str", _spell_str, _parse_str)

ID_TYPES: dict[type, IdType] = {
    str: _STR,
    int: IdType("int", _spell_int, _parse_int),
    UUID: IdType("UUID", _spell_uuid, _parse_uuid),
}
"""What a loader's id parameter may be annotated with; str where it is not."""


def canonical_id(entity: str, id: object) -> str:
    """The canonical text of an id whose entity is not known here: by its own type.

    Raises:
        BadId: it is no str, int or UUID, or not canonical.
    """
    return _type_of(entity, id).canonical_of(entity, id)


def id_text(entity: str, id: object) -> str:
    """The text of an id as a client sends it: whether it is canonical is for its server to say.

    Raises:
        BadId: it is no str, int or UUID.
    """
    return _type_of(entity, id).text_of(entity, id)


def _type_of(entity: str, id: object) -> IdType:
    if not isinstance(id, bool):
        for kind, id_type in ID_TYPES.items():
            if isinstance(id, kind):
                return id_type
    raise BadId(entity, f"an id is a str, an int or a UUID, not a {_name(type(id))}")
