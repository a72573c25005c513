"""What a node's views look like from outside, for whoever operates it."""

from __future__ import annotations

from collections.abc import Iterable

from entity_sync.core.loadstate import LoadState
from entity_sync.core.rights import named
from entity_sync.core.view import View
from entity_sync.loading.catalog import Catalog
from entity_sync.loading.loader import Loader
from entity_sync.model import Audience, ViewInfo

__all__ = ["watched"]

_DIGITS = 16  # of a principal's digest: enough to tell principals apart, on one line


def watched(views: Iterable[View], catalog: Catalog) -> list[ViewInfo]:
    """One for each view, in the order of entity, id and audience."""
    infos = [_info(view, catalog[view.key.entity]) for view in views]
    return sorted(infos, key=lambda info: (info.entity, info.id, info.audience))


def _info(view: View, loader: Loader) -> ViewInfo:
    loaded = view.loaded
    return ViewInfo(
        number=view.number,
        entity=view.key.entity,
        id=view.key.id,
        audience=_shown(view.audience, loader),
        subscribers=len(view.subscriptions),
        rev=view.rev,
        version=view.version,
        rows=0 if loaded is None else len(loaded.rows),
        size=0 if loaded is None else loaded.size,
        is_loading=view.state is not LoadState.IDLE,
        is_stale=view.failure is not None,
    )


def _shown(audience: Audience, loader: Loader) -> str:
    if not loader.takes_audience:
        return "everyone"
    if loader.per is None:  # a principal's key, which may be its secret
        return f"principal {named(str(audience))[:_DIGITS]}"
    return repr(audience)
