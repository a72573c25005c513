"""docs/reference.md, made of docstrings, signatures and fields: `python -m tests.reference` writes it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NamedTuple

from entity_sync import Auditor, EntitySync, Finding, Settings
from entity_sync.capture.sqlalchemy import Watched

__all__ = ["FILE", "page"]

FILE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"

_TOP = """\
# Reference

Options, settings and fields, for whoever looks one up. `make fix` makes this page of the docstrings and
defaults in the code, and a test compares it with them. Times are seconds, sizes bytes.
"""
_NONE = "required"


class _Part(NamedTuple):
    """What the page has of one thing."""

    title: str
    what: Callable[..., Any]
    defaults: Mapping[str, str]


def page() -> str:
    """The whole page, as the code is now.

    Raises:
        ValueError: a docstring does not describe exactly what there is.
    """
    kinds = {
        "`Settings`: `EntitySync(settings=Settings(…))`": Settings,
        "`Watched`: `notify_on_commit(sync, sessions, {Order: Watched(…)})`": Watched,
        "`Auditor`: `EntitySync(auditor=Auditor(…))`": Auditor,
        "`Finding`: what `on_finding` is called with": Finding,
    }
    parts = [_Part("`@sync.entity(name, …)`", EntitySync.entity, _parameters(EntitySync.entity))]
    parts += [_Part(title, kind, _fields(kind)) for title, kind in kinds.items()]
    return "\n".join([_TOP, *map(_section, parts)])


def _parameters(function: Callable[..., Any]) -> dict[str, str]:
    return {
        name: _NONE if each.default is each.empty else _spelled(each.default)
        for name, each in inspect.signature(function).parameters.items()
        if name != "self"
    }


def _fields(kind: Any) -> dict[str, str]:
    return {each.name: _NONE if each.default is MISSING else _spelled(each.default) for each in fields(kind)}


def _spelled(default: object) -> str:
    return f"`{default:_}`" if type(default) is int else f"`{default!r}`"


def _section(part: _Part) -> str:
    text, described = _parsed(inspect.getdoc(part.what) or "")
    named = [name for names in described for name in names]
    if sorted(named) != sorted(part.defaults):
        missing = set(part.defaults) ^ set(named)
        raise ValueError(f"{part.title}: the docstring and the code differ in {', '.join(sorted(missing))}")
    rows = [("", "default", ""), ("---", "---", "---")]
    for names, said in described.items():
        defaults = ", ".join(dict.fromkeys(part.defaults[name] for name in names))
        rows.append((", ".join(f"`{name}`" for name in names), defaults, said))
    is_made_by_us = set(part.defaults.values()) == {_NONE}
    table = [_row(name, said) if is_made_by_us else _row(name, default, said) for name, default, said in rows]
    return "\n".join([f"## {part.title}\n", _marked(text), "", *table, ""])


def _parsed(docstring: str) -> tuple[str, dict[tuple[str, ...], str]]:
    """The text before the first section, and what its fields or arguments are, by their names."""
    text, _, rest = re.sub(r"^Args:$", "Attributes:", docstring, flags=re.MULTILINE).partition(
        "\nAttributes:\n"
    )
    described: dict[tuple[str, ...], str] = {}
    names: tuple[str, ...] = ()
    for line in _indented(rest):
        begins = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
        if begins:
            names = tuple(begins[1].split(", "))
            described[names] = begins[2]
        else:
            described[names] += f" {line.strip()}"
    return text.strip(), described


def _indented(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line and not line.startswith(" "):
            return  # another section
        if line:
            yield line


def _marked(text: str) -> str:
    return text.replace("``", "`")


def _row(*cells: str) -> str:
    return "| " + " | ".join(_marked(cell).replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    FILE.write_text(page())
