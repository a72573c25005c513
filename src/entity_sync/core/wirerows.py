"""Rows and their differences as they stand in the downward messages of the v2 wire."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

__all__ = ["Patch", "Put", "WireKey", "WireRow"]


class WireRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row; without entity and id it is the view's own."""

    data: msgspec.Raw
    entity: str | UnsetType = UNSET
    id: str | UnsetType = UNSET


class WireKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row's key; without members it is the view's own."""

    entity: str | UnsetType = UNSET
    id: str | UnsetType = UNSET


class Patch(msgspec.Struct, frozen=True, omit_defaults=True, rename={"set_": "set"}):
    """Top-level members of a held row that are to be set, and those to be removed."""

    entity: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    set_: dict[str, msgspec.Raw] = {}
    unset: tuple[str, ...] = ()


class Put(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row whole: inserted at ``at`` (default: at the end), or replaced, and moved if ``at`` is given."""

    data: msgspec.Raw
    entity: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    at: int | UnsetType = UNSET
