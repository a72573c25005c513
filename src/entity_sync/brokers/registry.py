"""Broker URL → adapter: a table of ours, then the entry points of other packages."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast
from urllib.parse import urlsplit

from entity_sync.brokers.base import Broker
from entity_sync.errors import UnknownBroker

__all__ = ["GROUP", "broker_from"]

GROUP = "entity_sync.brokers"

_ADAPTERS = {
    "memory": "entity_sync.brokers.memory:MemoryBroker",
    "nats": "entity_sync.brokers.nats:NatsBroker",
    "nsq": "entity_sync.brokers.nsq:NsqBroker",
    "nsq+lookup": "entity_sync.brokers.nsq:NsqBroker",
    "nsqs": "entity_sync.brokers.nsq:NsqBroker",
    "postgres": "entity_sync.brokers.postgresql:PostgresBroker",
    "postgresql": "entity_sync.brokers.postgresql:PostgresBroker",
    "redis": "entity_sync.brokers.redis:RedisBroker",
    "rediss": "entity_sync.brokers.redis:RedisBroker",
    "tls": "entity_sync.brokers.nats:NatsBroker",
}
"""URL scheme → module:class; the module is imported only when its scheme is asked for."""


def broker_from(url: str) -> Broker:
    """Make the broker a URL names; it is not connected yet.

    Args:
        url: for example ``nsq://127.0.0.1:4150`` or ``memory://``.

    Raises:
        UnknownBroker: nothing answers to the URL's scheme.
        MissingExtra: the adapter's client library is not installed.
    """
    scheme = urlsplit(url).scheme
    if scheme in _ADAPTERS:
        module, name = _ADAPTERS[scheme].split(":")
        make = getattr(import_module(module), name)
    else:
        found = entry_points(group=GROUP, name=scheme)
        if not found:
            names = {entry.name for entry in entry_points(group=GROUP)}
            raise UnknownBroker(scheme, tuple(sorted(names.union(_ADAPTERS))))
        make = next(iter(found)).load()
    return cast(Callable[[str], Broker], make)(url)
