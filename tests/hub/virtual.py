"""Tests of the hub in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

from tests.simulation.loop import run

_P = ParamSpec("_P")


def in_virtual_time(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    """Run a test where a second of sleep costs nothing and is exactly a second."""

    @wraps(test)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> None:
        _, failures = run(test(*args, **kwargs))
        assert failures == []

    return wrapper
