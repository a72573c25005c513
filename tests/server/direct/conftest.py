import pytest

from entity_sync.server.standalone import listen
from tests.server.direct.board import Board
from tests.server.direct.loops import pytest_asyncio_loop_factories
from tests.server.direct.raw import V2, connected

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture
def board():
    return Board()


@pytest.fixture
async def listener(board):
    async with listen(board.sync, pages=board.pages) as found:
        yield found


@pytest.fixture
async def client(listener):
    async with connected(listener, V2) as found:
        yield found
