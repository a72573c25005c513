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

_PORTS = {"4150": "nsq", "4161": "nsq+lookup", "4222": "nats", "5432": "postgresql", "6379": "redis"}
"""The scheme of a broker that listens at its usual port."""


def broker_from(url: str) -> Broker:
    """Make the broker a URL names; it is not connected yet.

    Args:
        url: for example ``nsq://127.0.0.1:4150`` or ``memory://``.

    Raises:
        UnknownBroker: nothing answers to the URL's scheme, or it has none.
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
            known = tuple(sorted(names.union(_ADAPTERS)))
            raise UnknownBroker(scheme, known) if "://" in url else UnknownBroker("", known, _proposal(url))
        make = next(iter(found)).load()
    return cast(Callable[[str], Broker], make)(url)


def _proposal(text: str) -> str:
    """What is said of a broker's address without a scheme; of a password in it nothing."""
    _, user, place = text.partition("?")[0].rpartition("@")
    shown = f"…@{place}" if user else place
    port = place.partition("/")[0].rpartition(":")[2]
    if place in _ADAPTERS:
        return f"{shown!r} is no URL: did you mean {place}://{'' if place == 'memory' else 'host'} ?"
    if port in _PORTS:
        return f"{shown!r} has no scheme: did you mean {_PORTS[port]}://{shown} ?"
    return f"{shown!r} has no scheme, as nsq://127.0.0.1:4150 has one"
