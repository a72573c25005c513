"""Between what nodes say to one another and the broker's topics and bytes: prefix, size, signature."""

from __future__ import annotations

from typing import TypeAlias

from entity_sync.core import change, control
from entity_sync.core.control import Control
from entity_sync.core.rights import RIGHTS
from entity_sync.core.signing import Signing
from entity_sync.errors import ConfigurationError
from entity_sync.model import Change

__all__ = ["CONTROL", "MAX_BYTES", "MAX_PREFIX", "Envelope", "Letter", "private"]

MAX_BYTES = 4_096
MAX_PREFIX = 20  # so that the longest name of ours stays within a topic's 64 characters

CONTROL = "entity-sync.control.transient"
"""The name on which nodes tell what is for all; entities may not end so."""

_ALLOWED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")

Letter: TypeAlias = Change | Control


def private(publisher: str) -> str:
    """The name on which a node hears itself and nobody else."""
    return f"entity-sync.{publisher}.transient"


class Envelope:
    """How the nodes of one application spell their topics and messages."""

    def __init__(self, prefix: str = "", signing: Signing | None = None) -> None:
        """
        Args:
            prefix: begins every topic, so that applications can share a broker.
            signing: proves who wrote a message; None trusts whoever can publish.

        Raises:
            ConfigurationError: the prefix is too long or has other characters.
        """
        if len(prefix) > MAX_PREFIX or not _ALLOWED.issuperset(prefix):
            raise ConfigurationError(
                f"a topic prefix is at most {MAX_PREFIX} of A-Z a-z 0-9 _ . -, not {prefix!r}"
            )
        self._prefix = prefix
        self._signing = signing

    def topic(self, name: str) -> str:
        """The broker's topic for a name: an entity's, or one of ours."""
        return self._prefix + name

    def name(self, topic: str) -> str:
        """The name of a topic of this application."""
        return topic.removeprefix(self._prefix)

    def seal(self, name: str, letter: Letter) -> bytes:
        """The bytes to publish on the topic of ``name``."""
        payload = change.encode(letter) if isinstance(letter, Change) else control.encode(letter)
        return payload if self._signing is None else self._signing.sign(self.topic(name), payload)

    def open(self, topic: str, payload: bytes) -> Letter | None:
        """What somebody said, or None where nobody of this application can have said it."""
        if len(payload) > MAX_BYTES:
            return None
        name = self.name(topic)
        is_entity = not name.startswith("entity-sync.")
        if self._signing is not None:
            verdict = self._signing.verify(topic, payload)
            if verdict == "forged" or (
                verdict == "unsigned" and not (is_entity and self._signing.accepts_unsigned)
            ):
                return None
            if verdict == "unsigned":  # it says that a key changed, and nothing about anybody's numbers
                found = _change(name, payload)
                return None if found is None else Change(found.key)
        return _change(name, payload) if is_entity or name == RIGHTS else control.decode(payload)


def _change(name: str, payload: bytes) -> Change | None:
    """The Change in a message, if it is of this name: any other would escape what its own topic demands."""
    found = change.decode(payload)
    return found if found is not None and found.key.entity == name else None
