"""What an application declares, looked at before anything runs."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from entity_sync.core.envelope import Envelope
from entity_sync.errors import ConfigurationError
from entity_sync.loading.loader import Loader, check_name

__all__ = ["check_audiences", "check_names", "check_origin", "coroutine_function"]

_log = logging.getLogger("entity_sync")


def check_audiences(loaders: Iterable[Loader]) -> None:
    """With ``authenticate``, no entity is for everybody unless that was said.

    Raises:
        ConfigurationError: one is.
    """
    for loader in loaders:
        if not (loader.takes_audience or loader.public or loader.authorize):
            raise ConfigurationError(
                f"entity {loader.name!r}: authenticate is set, and this loader takes only an id, so "
                "everyone would see it: declare public=True or authorize=, or give the loader a second "
                "parameter, the audience"
            )


def coroutine_function(what: str, function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """The function itself, if it can be awaited with ``count`` arguments.

    Raises:
        ConfigurationError: it cannot, naming ``what``.
    """
    call = function if inspect.isroutine(function) else type(function).__call__
    if not inspect.iscoroutinefunction(call):
        raise ConfigurationError(f"{what} must be an async function")
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError as error:
        raise ConfigurationError(f"{what} takes {count} positional arguments: {error}") from None
    return function


def check_names(loader: Loader, envelope: Envelope) -> None:
    """With the prefix before them, brokers can carry the names of the entity and of its rows.

    Raises:
        ConfigurationError: they cannot.
    """
    check_name(envelope.topic(loader.name))
    if loader.rows is not None:
        check_name(loader.rows.entity)
        check_name(envelope.topic(loader.rows.entity))


def check_origin(origin: str) -> str:
    """The origin, as browsers spell it.

    Raises:
        ConfigurationError: it is none.
    """
    if origin == "*":
        _log.warning("origins=['*']: every page of the web may connect with its visitor's cookies")
        return origin
    parts = urlsplit(origin)
    if not parts.scheme or not parts.netloc or parts.path or parts.query:
        raise ConfigurationError(
            f"an origin is a scheme and a host, for example https://app.example, not {origin!r}"
        )
    return origin.lower()
