"""The memory broker meets the contract that every adapter meets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from entity_sync.brokers import memory
from entity_sync.brokers.base import Broker, Lost, Restored
from entity_sync.brokers.memory import MemoryBroker
from entity_sync.testing import BrokerContract


class TestContract(BrokerContract):
    """`memory://` by the public contract."""

    async def make(self) -> Broker:
        """Every adapter of a test joins the same nodes."""
        return MemoryBroker("memory://contract")


async def test_other_names_are_apart():
    """Nodes of another name hear nothing."""
    one, two = MemoryBroker("memory://one"), MemoryBroker("memory://two")
    for broker in (one, two):
        await broker.connect()
        await broker.subscribe(["items"])
    await one.publish("items", [b"1"])
    assert two._inbox is not None
    assert two._inbox.empty()
    for broker in (one, two):
        await broker.close()


async def test_member_that_cannot_keep_up(monkeypatch: pytest.MonkeyPatch):
    """A member whose inbox is full forgets what waits and is told of a gap: bounded, and true."""
    monkeypatch.setattr(memory, "_INBOX", 10)
    broker = MemoryBroker("memory://full")
    await broker.connect()
    await broker.subscribe(["items"])
    for n in range(11):
        await broker.publish("items", [b"%d" % n])
    found = broker.receive()
    assert [await anext(found), await anext(found)] == [Lost(), Restored()]
    await found.aclose()  # type: ignore[attr-defined]
    await broker.close()


WORKERS = """
import asyncio, multiprocessing, os, signal, sys
from entity_sync import ConfigurationError, EntitySync

def work(connection):
    async def main():
        try:
            async with EntitySync("memory://workers"):
                connection.send("running")
                connection.recv()
        except ConfigurationError as error:
            connection.send(str(error))
    asyncio.run(main())

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    answers = []
    def start():
        ours, theirs = multiprocessing.Pipe()
        worker = multiprocessing.Process(target=work, args=(theirs,))
        worker.start()
        return worker, ours, ours.recv()
    first, _, answer = start()
    print(answer)
    second, _, answer = start()
    print(answer)
    second.join()
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    third, pipe, answer = start()
    print(answer)
    pipe.send("stop")
    third.join()
"""


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_second_worker_is_refused(tmp_path: Path, method: str):
    """A second worker process is refused with the reason; when the first is killed, the next may run."""
    program = tmp_path / "workers.py"
    program.write_text(WORKERS)
    ran = subprocess.run(
        [sys.executable, program, method], check=True, capture_output=True, text=True, timeout=60
    )
    first, second, third = ran.stdout.splitlines()
    assert (first, third) == ("running", "running")
    assert "another worker process of this application" in second
    assert "ENTITY_SYNC_BROKER" in second
