import pytest

from entity_sync.brokers.base import Broker
from entity_sync.brokers.redis import RedisBroker
from entity_sync.testing.broker_contract import BrokerContract
from tests.support.servers import Server, running

pytestmark = pytest.mark.needs("redis-server")


@pytest.fixture
async def server(tmp_path):
    async with running("redis", tmp_path) as server:
        yield server


class TestRedis(BrokerContract):
    query = ""

    @pytest.fixture(autouse=True)
    def _server(self, server: Server):
        self._url = server.url

    async def make(self) -> Broker:
        return RedisBroker(self._url + self.query)


class TestRedisStream(TestRedis):
    query = "?mode=stream"
