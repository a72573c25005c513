"""An async client of the v2 wire."""

from entity_sync.client.connection import Client, connect
from entity_sync.client.replica import Refusal, Row, State
from entity_sync.client.subscription import Subscription

__all__ = ["Client", "Refusal", "Row", "State", "Subscription", "connect"]
