"""What an operator sets for all processes of an application at once: the broker, and how to speak on it."""

from __future__ import annotations

import os

from entity_sync.core.envelope import Envelope
from entity_sync.core.signing import Signing
from entity_sync.errors import ConfigurationError

__all__ = ["broker_url", "envelope"]


def broker_url() -> str:
    """``$ENTITY_SYNC_BROKER``, else ``memory://``."""
    return os.environ.get("ENTITY_SYNC_BROKER") or "memory://"


def envelope(topic_prefix: str | None, signing: Signing | None) -> Envelope:
    """What is given, else ``$ENTITY_SYNC_TOPIC_PREFIX`` and ``$ENTITY_SYNC_SIGNING_KEYS``.

    Raises:
        ConfigurationError: the prefix cannot begin a topic, or the keys are no keys.
    """
    if topic_prefix is None:
        topic_prefix = os.environ.get("ENTITY_SYNC_TOPIC_PREFIX", "")
    keys = os.environ.get("ENTITY_SYNC_SIGNING_KEYS")
    if signing is None and keys:
        signing = Signing(_pairs(keys))
    return Envelope(topic_prefix, signing)


def _pairs(text: str) -> dict[str, str]:
    pairs = [pair.partition(":") for pair in text.split(",")]
    if not all(separator for _, separator, _ in pairs):
        raise ConfigurationError(
            "ENTITY_SYNC_SIGNING_KEYS is NAME:SECRET, or several by commas, the first of which signs"
        )
    return {name.strip(): secret for name, _, secret in pairs}
