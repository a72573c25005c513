"""An async client of the v2 wire."""

from entity_sync.client.connection import Client, Secret, connect
from entity_sync.client.state import Refusal, Row, State
from entity_sync.client.subscription import Subscription

__all__ = ["Client", "Refusal", "Row", "Secret", "State", "Subscription", "connect"]
