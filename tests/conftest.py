"""What every test may use: the `needs` marker for programs of the system that a machine may lack."""

from tests.support.system_programs import pytest_configure, pytest_runtest_setup, pytest_terminal_summary

__all__ = ["pytest_configure", "pytest_runtest_setup", "pytest_terminal_summary"]
