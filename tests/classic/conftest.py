import pytest

from tests.classic.shop import open_shop
from tests.server.direct.loops import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture
async def shop():
    async with open_shop() as found:
        yield found


@pytest.fixture
async def client(shop):
    async with shop.connected() as found:
        yield found
