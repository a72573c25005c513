"""Tags: what a change says of a row besides its key, and what a live query read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

from entity_sync.model import Reads, Tags

__all__ = ["MAX_NAME", "MAX_TAGS", "MAX_VALUES", "Reading", "Readings", "canonical_tags", "merged", "reading"]

MAX_TAGS = 16
"""Tags of one notify or one `Reads`."""
MAX_NAME = 64
"""Characters of a tag's name."""
MAX_VALUES = 256
"""Values of one tag."""
_MAX_BYTES = 256


@dataclass(frozen=True, slots=True)
class Reading:
    """A `Reads` in canonical form.

    Attributes:
        entity: what was read.
        tags: tag and values, by name.
    """

    entity: str
    tags: tuple[tuple[str, frozenset[str]], ...] = ()

    @property
    def places(self) -> int:
        """Values of all tags: each is a place where it is looked for."""
        return sum(len(values) for _, values in self.tags) or 1

    def concerns(self, tags: Tags | None) -> bool:
        """Whether a change of this entity with these tags may have changed what was read."""
        if tags is None:
            return True
        return all(name not in tags or not values.isdisjoint(tags[name]) for name, values in self.tags)


class Readings:
    """Live queries of one entity that are asked about many changes: looked up, not compared one by one."""

    def __init__(self, reads: Iterable[Reading]) -> None:
        # Those that name the same tags, under each value of each of them.
        self._alike: dict[tuple[str, ...], dict[tuple[str, str], list[Reading]]] = {}
        for read in reads:
            places = self._alike.setdefault(tuple(name for name, _ in read.tags), {})
            for name, values in read.tags:
                for value in values:
                    places.setdefault((name, value), []).append(read)

    def concerned(self, tags: Tags | None) -> bool:
        """Whether a change of the entity with these tags may have changed what one of them read."""
        for names, places in self._alike.items():
            said = {name: tags[name] for name in names if name in tags} if tags else {}
            if not said:
                return True
            found = (
                [read for value in values for read in places.get((name, value), ())]
                for name, values in said.items()
            )
            if any(read.concerns(tags) for read in min(found, key=len)):
                return True
        return False


def reading(reads: Reads) -> Reading:
    """The canonical form of what a loader yielded.

    Raises:
        ValueError: as for `canonical_tags`.
    """
    return Reading(reads.entity, tuple(sorted(canonical_tags(reads.tags).items())))


def canonical_tags(tags: Mapping[str, Any]) -> Tags:
    """Tags as text: a scalar is a list of one; 7 and "7" are equal, True is "true" and None "null".

    A date is spelled as in ISO 8601.

    Raises:
        ValueError: they are no mapping, a name is no str, a value is no str, int, bool, UUID, date,
            Enum of them or None, or there are too many, or one is too long; the text names the tag.
    """
    if not hasattr(tags, "items"):
        raise ValueError(f"tags are a mapping of names to values, not {tags!r}")
    if len(tags) > MAX_TAGS:
        raise ValueError(f"{len(tags)} tags, and at most {MAX_TAGS} are carried")
    return {name: _values(name, value) for name, value in tags.items()}


def merged(first: Tags | None, second: Tags | None) -> Tags | None:
    """Tags that concern whatever either concerns, for two changes of one key that become one."""
    if first is None or second is None:
        return None
    both = {name: first[name] | second[name] for name in first.keys() & second.keys()}
    return {name: values for name, values in both.items() if len(values) <= MAX_VALUES}


def _values(name: object, value: Any) -> frozenset[str]:
    if not isinstance(name, str):
        raise ValueError(f"a tag's name is a str, not {name!r}")  # noqa: TRY004 - as documented
    if not 1 <= len(name) <= MAX_NAME:
        raise ValueError(f"a tag's name has 1 to {MAX_NAME} characters, not {len(name)}")
    values = value if isinstance(value, list | tuple | set | frozenset) else (value,)
    if len(values) > MAX_VALUES:
        raise ValueError(f"tag {name!r} has {len(values)} values, and at most {MAX_VALUES} are carried")
    return frozenset(_text(name, one) for one in values)


def _text(name: str, value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif value is None:
        text = "null"
    elif isinstance(value, str | int | UUID):
        text = str(value)
    elif isinstance(value, date) and not isinstance(value, datetime):  # of which zones spell one in many ways
        text = value.isoformat()
    else:
        raise ValueError(
            f"tag {name!r} is a {type(value).__qualname__}: use a str, int, bool, UUID, date or None"
        )
    if len(text.encode("utf-8", "surrogatepass")) > _MAX_BYTES or not _is_text(text):
        raise ValueError(f"a value of tag {name!r} is longer than {_MAX_BYTES} bytes, or no text")
    return text


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
