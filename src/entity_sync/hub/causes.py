"""What a change, a load or a question means for what a view waits for: of replicas, and in its receipts."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from entity_sync.core.fence import Fence
from entity_sync.core.loadstate import LoadState
from entity_sync.core.receipts import Receipts
from entity_sync.core.recent import Recent
from entity_sync.core.tags import Reading
from entity_sync.core.view import View
from entity_sync.model import Change, EntityKey

__all__ = ["changed", "depended", "learn", "recall"]


def changed(view: View, change: Change, now: float) -> None:
    """The view's own key changed."""
    since = -inf if view.fence is None else view.fence.change(change.revision, now)
    if view.receipts is not None:
        view.receipts.add(change.causes, since)


def depended(view: View, change: Change, now: float) -> None:
    """Something that the view depends on changed."""
    since = -inf if view.fence is None else view.fence.doubt(now)
    if view.receipts is not None:
        view.receipts.add(change.causes, since)


def learn(view: View, recent: Recent, rows: frozenset[EntityKey], reads: Iterable[Reading]) -> None:
    """The load that ends found the view to depend on more than it did: on what changed lately, too.

    Args:
        rows, reads: what it depended on before.
    """
    if view.fence is None and view.receipts is None:
        return
    before, after = recent.noted(view.rows - rows, set(view.reads).difference(reads), view.moment)
    for noted, _ in before:
        if view.fence is not None and noted + view.fence.lag > view.began:
            view.fence.doubt(noted)
    if view.receipts is not None:
        view.receipts.learn(_since(view, before), _since(view, after), was_denied=view.is_denied)


def recall(view: View, recent: Recent) -> Receipts:
    """What a view in which nobody was interested in receipts covers, and what it will."""
    is_loaded = view.state is LoadState.IDLE and view.failure is None and view.version is not None
    before, after = recent.noted({view.key, *view.rows}, view.reads, view.moment)
    since = _since(view, before + after)
    receipts = Receipts()
    receipts.recall(
        {token: since[token] for _, change in before for token in change.causes},
        {token: since[token] for _, change in after for token in change.causes},
        began=view.began,
        is_loading=view.is_loading,
        is_loaded=is_loaded,
        is_denied=view.is_denied,
    )
    return receipts


def _since(view: View, noted: Iterable[tuple[float, Change]]) -> dict[str, float]:
    """From which moment on a load of the view covers each token of these, the oldest first."""
    since: dict[str, float] = {}
    fence = None if view.fence is None else Fence(view.fence.lag)
    for now, change in noted:
        moment = -inf
        if fence is not None:
            moment = fence.change(change.revision, now) if change.key == view.key else now + fence.lag
        for token in change.causes:
            since[token] = max(moment, since.get(token, moment))
    return since
