"""What every test may use: the `needs` marker for programs of the system that a machine may lack."""

from hypothesis import HealthCheck, settings

from tests.support.system_programs import pytest_configure, pytest_runtest_setup, pytest_terminal_summary

__all__ = ["pytest_configure", "pytest_runtest_setup", "pytest_terminal_summary"]

# How long an example takes says how busy the machine is, and nothing of what the test claims.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
