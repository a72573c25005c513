import pytest

from entity_sync.brokers.base import Broker
from entity_sync.brokers.nats import NatsBroker
from entity_sync.testing.broker_contract import BrokerContract
from tests.support.servers import Server, running

pytestmark = pytest.mark.needs("nats-server")


@pytest.fixture
async def server(tmp_path):
    async with running("nats", tmp_path) as server:
        yield server


class TestNats(BrokerContract):
    @pytest.fixture(autouse=True)
    def _server(self, server: Server):
        self._url = server.url

    async def make(self) -> Broker:
        return NatsBroker(self._url)
