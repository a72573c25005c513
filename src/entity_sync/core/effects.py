"""What happens to a session from outside, and what it wants done: the seam between pure and not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from entity_sync.core.messages import Downward, Ref, Upward
from entity_sync.model import EntityKey

__all__ = [
    "Admit", "Admitted", "Answer", "Authenticate", "Close", "Deliver", "Dismiss", "Doubted", "Effect",
    "Ended", "Event", "Forget", "Overdue", "Refused", "Repeat", "Wait", "Watch",
]  # fmt: skip


# Outcomes, fed back by whoever owns the connection


@dataclass(frozen=True, slots=True)
class Admitted:
    """The application knows this principal.

    Attributes:
        key: the string that names it.
    """

    principal: object
    key: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The application refused the secret, or (retryable) could not tell."""

    code: str = "denied"
    text: str = "the secret was refused"
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Overdue:
    """The time for saying who the client is, is over."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The principal is nobody any more: it was revoked, or its time is over."""


@dataclass(frozen=True, slots=True)
class Doubted:
    """Whether the principal is still somebody is unknown: the application is asked afresh."""


# Effects


@dataclass(frozen=True, slots=True)
class Answer:
    """Send this message (v2 only)."""

    message: Downward


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Ask the application who this is, then feed `Admitted` or `Refused`; withhold states meanwhile.

    Attributes:
        again: it was asked before, and every other session may be asking too.
    """

    secret: str | None
    again: bool = False

    def __repr__(self) -> str:
        return "Authenticate(secret=***)"


@dataclass(frozen=True, slots=True)
class Admit:
    """The principal is known: states may flow, and each of these keys is watched as this principal.

    Attributes:
        causes: of which of them the client wants to know which notifies a state covers.
    """

    principal: object
    keys: tuple[EntityKey, ...]
    causes: frozenset[EntityKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Watch:
    """Watch a key; ``again`` when it is watched already and the client wants its state once more."""

    key: EntityKey
    version: str | None
    again: bool
    causes: bool = False


@dataclass(frozen=True, slots=True)
class Forget:
    """Watch these keys no longer."""

    keys: tuple[EntityKey, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """Bring the client from a view's rev to its newest state without a load, or an error ``unknown_view``."""

    view: int
    rev: int
    ref: Ref


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand a message to the application, and its answer back."""

    data: bytes
    ref: Ref


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Answer the messages that wait for the application with this refusal, and do not hand them over."""

    why: Refused


@dataclass(frozen=True, slots=True)
class Wait:
    """The application cannot tell who this still is: withhold states, and feed `Doubted` after a while."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection."""

    code: int
    reason: str


Effect: TypeAlias = Answer | Authenticate | Admit | Watch | Forget | Repeat | Deliver | Dismiss | Wait | Close
Event: TypeAlias = Upward | Admitted | Refused | Overdue | Ended | Doubted
