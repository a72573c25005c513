"""One process of an application at a time, whatever becomes of the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest

from entity_sync.brokers import memory
from entity_sync.brokers.exclusive import Exclusive
from entity_sync.brokers.memory import MemoryBroker
from entity_sync.errors import ConfigurationError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nothing is checked on Windows")

CLAIM = """
import os, sys
from entity_sync.brokers.exclusive import Exclusive
from entity_sync.errors import ConfigurationError
try:
    Exclusive("the thing").acquire()
except ConfigurationError as error:
    print(error, flush=True)
else:
    print("held", flush=True)
    sys.stdin.read(1)
"""


class Worker:
    """A process that claims, holds until `stop`, and was started like every other by the same parent."""

    def __init__(self, program: str, **options: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options,  # type: ignore[call-overload]
        )  # fmt: skip
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()

    def stop(self, how: int | None = None) -> None:
        if how is not None:
            self.process.send_signal(how)
        self.process.communicate("x", timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGKILL)


def test_claims_of_one_process():
    """One process may claim a name any number of times, and gives back each claim by itself."""
    claims = [Exclusive("counted") for _ in range(3)]
    path = Path(claims[0]._path())
    for claim in claims:
        claim.acquire()
    for claim in claims:
        assert path.exists()
        claim.release()
    assert not path.exists()
    claims[0].release()


def test_second_process():
    """A second process is refused while the first holds it, and told what to change; then it may."""
    with Worker(CLAIM) as first:
        assert first.said == "held"
        with Worker(CLAIM) as second:
            assert "the thing joins the nodes of one process" in second.said
            assert "Run one worker, or give every worker a broker that joins processes" in second.said
        first.stop()
        with Worker(CLAIM) as third:
            assert third.said == "held"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_freed_by_death(how: signal.Signals):
    """However the holder dies, the next process may claim it."""
    with Worker(CLAIM) as first:
        first.stop(how)
        with Worker(CLAIM) as second:
            assert second.said == "held"


def test_other_applications(tmp_path: Path):
    """Another program, another directory and another name are not the same application."""
    other_name = CLAIM.replace("the thing", "another thing")
    with (
        Worker(CLAIM) as one,
        Worker(other_name) as two,
        Worker(CLAIM, cwd=tmp_path) as three,
    ):
        assert [one.said, two.said, three.said] == ["held"] * 3


FORKING = """
import os, sys, time
from entity_sync.brokers.exclusive import Exclusive
Exclusive("the thing").acquire()
reader, writer = os.pipe()
if os.fork() == 0:
    os.close(0); os.close(1)
    os.read(reader, 1)  # outlives the holder, as a worker of a process pool does
    os._exit(0)
print("held", flush=True)
sys.stdin.read(1)
"""


def test_child_of_a_holder_does_not_hold(tmp_path: Path):
    """A forked child that outlives a killed holder does not keep its claim."""
    lingering = FORKING.replace(
        "os.read(reader, 1)", f"time.sleep(0); open({str(tmp_path / 'fifo')!r}).read()"
    )
    os.mkfifo(tmp_path / "fifo")
    with Worker(lingering) as first:
        assert first.said == "held"
        first.stop(signal.SIGKILL)
        with Worker(CLAIM) as second:
            assert second.said == "held"
    with (tmp_path / "fifo").open("w"):
        pass  # the child ends


def test_claim_of_a_forked_child():
    """A forked child claims for itself, and releasing what it inherited frees nothing of its parent's."""
    claim = Exclusive("inherited")
    claim.acquire()
    path = Path(claim._path())
    child = os.fork()
    if child == 0:
        code = 1
        try:
            claim.release()
            code = 0 if path.exists() else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert path.exists()
    claim.release()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_forked_child_is_apart():
    """A forked child's broker does not reach the members that it inherited, nor keep messages for them."""
    broker = MemoryBroker("memory://forked")
    await broker.connect()
    await broker.subscribe(["items"])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if not memory._members else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(memory._members["forked"]) == [broker]
    await broker.close()


def test_lock_that_cannot_be_had_is_no_crash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A file that another process has locked is a ConfigurationError in this one."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with Worker(CLAIM, env={**os.environ, "TMPDIR": str(tmp_path)}) as first:
        assert first.said == "held"
        [lock] = tmp_path.glob("entity-sync-*.lock")
        claim = Exclusive("the thing")
        monkeypatch.setattr(claim, "_path", lambda: str(lock))
        with pytest.raises(ConfigurationError, match="the thing joins the nodes of one process"):
            claim.acquire()


def test_file_that_is_removed_between_opening_and_locking(monkeypatch: pytest.MonkeyPatch):
    """A lock of a file that its holder removed meanwhile is worth nothing, so the new file is locked."""
    claim = Exclusive("raced")
    path = Path(claim._path())
    lock_file = claim._lock_file
    tries: list[int] = []

    def lock_and_lose(name: str) -> int:
        descriptor = lock_file(name)
        tries.append(descriptor)
        if len(tries) == 1:
            path.unlink()
        return descriptor

    monkeypatch.setattr(claim, "_lock_file", lock_and_lose)
    claim.acquire()
    assert len(tries) == 2
    assert path.exists()
    claim.release()
