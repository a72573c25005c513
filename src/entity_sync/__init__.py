"""Entity Sync keeps every shown piece of an application's data true, on every client."""

from entity_sync.app import EntitySync
from entity_sync.core.signing import Signing
from entity_sync.entity import Entity
from entity_sync.errors import (
    AccessDenied,
    BadId,
    BrokerUnavailable,
    ConfigurationError,
    EntitySyncError,
    NotRunning,
    UnknownEntity,
)
from entity_sync.hub.auditor import Auditor, Finding
from entity_sync.model import ClientMessage, ConnectionInfo, EntityKey, Reads, Receipt, Row, ViewInfo
from entity_sync.publisher import AsyncPublisher, Publisher
from entity_sync.settings import Settings

__all__ = [
    "AccessDenied",
    "AsyncPublisher",
    "Auditor",
    "BadId",
    "BrokerUnavailable",
    "ClientMessage",
    "ConfigurationError",
    "ConnectionInfo",
    "Entity",
    "EntityKey",
    "EntitySync",
    "EntitySyncError",
    "Finding",
    "NotRunning",
    "Publisher",
    "Reads",
    "Receipt",
    "Row",
    "Settings",
    "Signing",
    "UnknownEntity",
    "ViewInfo",
]
