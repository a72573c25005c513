"""What nodes tell one another of principals: a Change whose key names one, so it is kept, numbered and
missed as any other is.
"""

from __future__ import annotations

import hashlib
from enum import Enum

from entity_sync.model import Change, EntityKey

__all__ = ["RIGHTS", "Verdict", "named", "told", "verdict"]

RIGHTS = "entity-sync.rights.transient"
"""The name under which nodes speak of principals."""

_TAG = "verdict"


class Verdict(Enum):
    """What was said of a principal."""

    REVOKED = "revoked"
    REAUTHORIZE = "reauthorize"


def named(principal_key: str) -> str:
    """What stands for a principal between nodes: a digest, since the key may be a secret.

    Raises:
        TypeError: the key is no str.
    """
    if not isinstance(principal_key, str):  # pyright: ignore[reportUnnecessaryIsInstance] - of an application
        kind = type(principal_key).__qualname__
        raise TypeError(f"a principal's key is a str, as authenticate returned it, not of type {kind}")
    return hashlib.sha256(principal_key.encode(errors="surrogatepass")).hexdigest()[:32]


def told(name: str, verdict: Verdict) -> Change:
    """The Change that says it of the principal with this name."""
    return Change(EntityKey(RIGHTS, name), tags={_TAG: frozenset({verdict.value})})


def verdict(change: Change) -> Verdict:
    """What a Change of this name says; whatever leaves that open revokes."""
    said = {} if change.tags is None else change.tags
    only_asks = said.get(_TAG) == frozenset({Verdict.REAUTHORIZE.value})
    return Verdict.REAUTHORIZE if only_asks else Verdict.REVOKED
