"""Redis and Valkey: ``redis://host:6379`` or ``rediss://``, by PUBLISH or by streams."""

from entity_sync.brokers.redis.broker import RedisBroker

__all__ = ["RedisBroker"]
