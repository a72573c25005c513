"""What a client holds of one key."""

from __future__ import annotations

from dataclasses import dataclass, field

from entity_sync.client.receipts import Covered
from entity_sync.client.state import StaleReason, State

__all__ = ["Copy"]


@dataclass(slots=True)
class Copy:
    """The state of a watched key, as far as the server told it.

    Attributes:
        view, rev: what the state is of on this connection, and which one it is.
        is_answered: the server has told, since it was asked last, that this is the state.
        failure: why the state may be old nevertheless.
        causes: tokens of a state that is not held: the next snapshot covers them.
        covered: the newest tokens that the state covers.
    """

    state: State = field(default_factory=State)
    view: int | None = None
    rev: int = 0
    is_answered: bool = False
    failure: StaleReason | None = None
    causes: tuple[str, ...] = ()
    covered: Covered = field(default_factory=Covered)
