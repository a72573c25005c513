"""For the tests of applications and of broker adapters."""

from entity_sync.testing.broker_contract import BrokerContract, BrokerOutageContract
from entity_sync.testing.clock import FakeClock
from entity_sync.testing.memory import MemoryClient, connect
from entity_sync.testing.settling import settled

__all__ = ["BrokerContract", "BrokerOutageContract", "FakeClock", "MemoryClient", "connect", "settled"]
