"""MODULE:NAME → the application's EntitySync."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import click

from entity_sync.app import EntitySync

__all__ = ["load_target"]


def load_target(target: str) -> EntitySync:
    """Import it; the current directory is looked in first, as `python -m` does.

    Raises:
        click.BadParameter: there is no such thing, or it is something else.
    """
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise _wrong(f"{target!r} is not MODULE:NAME, for example shop:sync")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise
        raise _wrong(f"there is no module {module_name!r} in {Path.cwd()} or on the path") from None
    found = getattr(module, name, None)
    if found is None:
        raise _wrong(f"module {module_name!r} has no {name!r}")
    if not isinstance(found, EntitySync):
        raise _wrong(f"{target} is a {type(found).__name__}, not an EntitySync")
    return found


def _wrong(text: str) -> click.BadParameter:
    return click.BadParameter(text, param_hint="MODULE:NAME")
