"""What every test may use: the `needs` marker for programs of the system that a machine may lack, a port."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.ports import HeldPort
from tests.support.system_programs import pytest_configure, pytest_runtest_setup, pytest_terminal_summary

__all__ = ["pytest_configure", "pytest_itemcollected", "pytest_runtest_setup", "pytest_terminal_summary"]

# How long an example takes says how busy the machine is, and nothing of what the test claims.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# As from a terminal, also where nohup started the tests: what they start would ignore it as well.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_itemcollected(item: pytest.Item) -> None:
    """A test has the same name in each process: mutants are tested by the names that another one found."""
    if " at 0x" in item.nodeid:
        raise pytest.UsageError(f"{item.nodeid} is named after an address: give its parameters ids")


@pytest.fixture
def held_port() -> Iterator[int]:
    """A loopback port at which nobody listens, but who is told its number."""
    with HeldPort() as port:
        yield port.number
