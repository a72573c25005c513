"""Every fault on every broker, in short form; `python -m tests.faults` runs the long one."""

from __future__ import annotations

import asyncio
import gc
import os

import pytest

from tests.faults.cell import KINDS, endure
from tests.faults.faults import FAULTS, Fault
from tests.support.servers import SERVERS, Server

SEED = os.environ.get("FAULTS_SEED", "1")
_TELLING = {"black-hole-down", "keep-resetting", "cut-down", "kill", "freeze", "kick"}
"""Enough for another way to use a broker that suffers all faults in its first."""


def _cells():
    for name, kind in KINDS.items():
        for fault in FAULTS:
            is_wanted = name == kind.scheme or fault.name in _TELLING or kind.scheme in fault.spares
            if is_wanted and name not in fault.spares:
                yield pytest.param(
                    name, fault, id=f"{name}-{fault.name}", marks=pytest.mark.needs(kind.program)
                )


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory):
    """One of each kind, started by the first who needs it."""
    servers = {scheme: make(tmp_path_factory.mktemp(scheme)) for scheme, make in SERVERS.items()}
    yield servers
    for server in servers.values():
        asyncio.run(server.stop())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fault"), list(_cells()))
async def test_fault(servers: dict[str, Server], name: str, fault: Fault):
    """Whatever happens to the broker or the way there, clients end with the truth, and were told."""
    server = servers[KINDS[name].scheme]
    if not server.is_running:
        await server.start()
    before = asyncio.all_tasks()
    await endure(name, server, fault, SEED)
    async with asyncio.timeout(2.0):  # a library may need a moment to end its tasks
        while asyncio.all_tasks() != before:
            await asyncio.sleep(0.01)
    gc.collect()  # so that what was left open is told by this test
