"""What a program is shown of a subscription."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from entity_sync.errors import EntitySyncError
from entity_sync.model import EntityKey

__all__ = ["Refusal", "Row", "StaleReason", "State"]

StaleReason: TypeAlias = Literal["connection", "broker", "load", "too_large"]
"""Why a state may be old: the connection fails; the server's link to its broker does, or its application has
not said who the client is or what it may see (``broker`` both); its load fails; or its rows are more than the
server sends."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, decoded, with its own key."""

    entity: str
    id: str
    data: Any


@dataclass(frozen=True, slots=True)
class State:
    """What is shown of one subscription.

    Attributes:
        rows: empty where the key is gone, denied, or not known yet.
        version: content hash, None while nothing is known.
        is_gone: there is no such key.
        is_denied: the principal may not see it.
        stale_reason: why the rows may be old, None while they are certified.
    """

    rows: tuple[Row, ...] = ()
    version: str | None = None
    is_gone: bool = False
    is_denied: bool = False
    stale_reason: StaleReason | None = "connection"

    @property
    def is_stale(self) -> bool:
        """Whether the rows may be old; `stale_reason` tells why."""
        return self.stale_reason is not None

    @property
    def data(self) -> Any:
        """The data of the first row, None where there is none."""
        return self.rows[0].data if self.rows else None


class Refusal(EntitySyncError):
    """The server refused a request.

    Attributes:
        code: as on the wire, for example ``bad_id`` or ``unknown_entity``.
        text: the reason, for people.
        key: what was refused, where it is a key.
        is_retryable: whether the same request may be granted later.
    """

    def __init__(
        self, code: str, text: str, is_retryable: bool = False, key: EntityKey | None = None
    ) -> None:
        self.code = code
        self.text = text
        self.is_retryable = is_retryable
        self.key = key
        super().__init__(f"{code}: {text}" if key is None else f"{key}: {code}: {text}")
