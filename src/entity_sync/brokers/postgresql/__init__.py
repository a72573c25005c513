"""Carrying Changes over PostgreSQL's LISTEN and NOTIFY."""

from entity_sync.brokers.postgresql.broker import PostgresBroker

__all__ = ["PostgresBroker"]
