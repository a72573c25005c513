"""NATS core: ``nats://host:4222`` or ``tls://``."""

from entity_sync.brokers.nats.broker import NatsBroker

__all__ = ["NatsBroker"]
