"""Signed broker messages: whoever can publish on the broker cannot speak for a node."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping
from typing import Literal

from entity_sync.errors import ConfigurationError

__all__ = ["Signing", "Verdict"]

Verdict = Literal["signed", "unsigned", "forged"]

_KEY_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_MEMBER = b',"mac":"'
_MIN_SECRET = 16


class Signing:
    """HMAC-SHA256 over the topic and the message, in a last member ``mac`` that a Go node ignores.

    The first key signs, every key verifies. To rotate: add the new key behind the old one on all nodes,
    then put it first on all nodes, then remove the old one.
    """

    def __init__(
        self, keys: Mapping[str, str | bytes], *, unsigned: Literal["refuse", "accept"] = "refuse"
    ) -> None:
        """
        Args:
            keys: name (1 to 32 of ``A-Z a-z 0-9 _ -``, sent with each message) → secret of at least
                16 bytes.
            unsigned: what becomes of unsigned changes: ``refuse`` excludes Go nodes and nodes without
                keys, ``accept`` lets them say that a key changed. Unsigned control messages are
                refused either way.

        Raises:
            ConfigurationError: there is no key, a name has other characters, or a secret is too short.
        """
        if not keys:
            raise ConfigurationError("Signing needs at least one key")
        for name, secret in keys.items():
            if not _KEY_NAME.fullmatch(name):
                raise ConfigurationError(f"a signing key's name is 1 to 32 of A-Z a-z 0-9 _ -, not {name!r}")
            if len(secret) < _MIN_SECRET:
                raise ConfigurationError(f"the secret of signing key {name!r} is shorter than 16 bytes")
        self._keys = {name: s.encode() if isinstance(s, str) else s for name, s in keys.items()}
        self._signer = next(iter(self._keys))
        self.accepts_unsigned = unsigned == "accept"

    def __repr__(self) -> str:
        return f"Signing({', '.join(self._keys)})"

    def sign(self, topic: str, payload: bytes) -> bytes:
        """The payload, a JSON object, with the member that proves who wrote it."""
        head = payload[:-1]
        return head + _MEMBER + self._mac(self._signer, topic, head) + b'"}'

    def verify(self, topic: str, payload: bytes) -> Verdict:
        """Whether a holder of a key wrote this for this topic."""
        head, separator, tail = payload.rpartition(_MEMBER)
        if not separator:
            return "unsigned"
        name = tail.partition(b".")[0].decode("ascii", "replace")
        if name in self._keys and hmac.compare_digest(self._mac(name, topic, head) + b'"}', tail):
            return "signed"
        return "forged"

    def _mac(self, name: str, topic: str, head: bytes) -> bytes:
        digest = hmac.digest(self._keys[name], topic.encode() + b"\0" + head, "sha256")
        return name.encode() + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")
