"""NSQ: our own client of its TCP protocol V2, and the adapter on it."""

from entity_sync.brokers.nsq.broker import NsqBroker

__all__ = ["NsqBroker"]
