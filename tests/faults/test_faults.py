"""Every fault on every broker, in short form; `python -m tests.faults` runs the long one."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.faults.cell import endure
from tests.faults.faults import FAULTS, Fault
from tests.support.servers import SERVERS, Server

SEED = os.environ.get("FAULTS_SEED", "1")
_PROGRAMS = {"nsq": "nsqd", "nats": "nats-server", "redis": "redis-server", "postgresql": "postgres"}
_running: dict[str, Server] = {}


@pytest.fixture(scope="module", params=[
    pytest.param(scheme, marks=pytest.mark.needs(program)) for scheme, program in _PROGRAMS.items()
])  # fmt: skip
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    server = SERVERS[request.param](tmp_path_factory.mktemp(request.param))
    yield request.param, server
    asyncio.run(server.stop())


@pytest.fixture
async def server(shared: tuple[str, Server]):
    scheme, server = shared
    if server._process is None:
        await server.start()
    return scheme, server


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_fault(server: tuple[str, Server], fault: Fault):
    """Whatever happens to the broker or the way there, clients end with the truth, and were told."""
    scheme, process = server
    before = asyncio.all_tasks()
    await endure(scheme, process, fault, SEED)
    assert asyncio.all_tasks() == before
