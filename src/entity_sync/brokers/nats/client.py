"""The client library, kept from what it does on its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from entity_sync.errors import BrokerUnavailable, ConfigurationError, MissingExtra

try:
    from nats.aio.client import Client
    from nats.errors import Error
except ImportError:
    raise MissingExtra("a nats:// broker", "nats") from None

__all__ = ["FAILURES", "TIMEOUT", "Error", "close", "connect", "written"]

TIMEOUT = 4.0
"""Seconds that one exchange with the server may take."""

FAILURES = (Error, OSError, TimeoutError)
"""What the client raises when the server is away, or refuses something."""


async def connect(options: dict[str, Any], ended: Callable[[object], object]) -> Client:
    """A connected client that does not reconnect.

    Args:
        ended: called with the reason when the connection ends.

    Raises:
        BrokerUnavailable: no server answers, or it refuses us.
        ConfigurationError: credentials files need a package that is missing.
    """
    client = _TlsClient() if options["servers"][0].startswith("tls:") else Client()
    last: Exception | None = None

    async def failed(error: Exception) -> None:
        nonlocal last
        last = error

    async def closed() -> None:
        ended(last or "the server closed it")

    try:
        async with asyncio.timeout(TIMEOUT):
            await client.connect(**options, error_cb=failed, closed_cb=closed)
    except ImportError:
        raise ConfigurationError("?creds= of a nats:// URL needs the package nkeys") from None
    except (*FAILURES, ValueError) as error:  # ValueError: its first line was cut in the middle
        await close(client)
        raise BrokerUnavailable(f"no link to NATS: {last or str(error) or 'no answer'}") from None
    except BaseException:
        await close(client)
        raise
    return client


async def close(client: Client) -> None:
    """Close a client within about a second."""
    writer = getattr(client._transport, "_io_writer", None)
    if writer is None:
        return  # it was never connected, which not every version of the library sees
    tasks = _tasks(client)
    with suppress(*FAILURES):
        async with asyncio.timeout(1.0):
            await client.close()
    for task in tasks:  # a connection that is reset during its close keeps the library from ending them
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # After an upgrade to TLS there is another one; a frozen server would keep what waits in it.
    getattr(client._transport, "_io_writer", writer).transport.abort()


def _tasks(client: Client) -> list[asyncio.Task[Any]]:
    found: list[asyncio.Task[Any] | None] = [
        client._reading_task,
        client._ping_interval_task,
        client._flusher_task,
        *(subscription._wait_for_msgs_task for subscription in client._subs.values()),
    ]
    return [task for task in found if task is not None]


async def written(client: Client) -> None:
    """Return once nothing waits in the client: only then a ping comes behind it."""
    delay = 0.0
    while client.pending_data_size > 0 and client.is_connected:
        await asyncio.sleep(delay)
        delay = min(0.01, delay + 0.001)


class _TlsClient(Client):
    """A client that encrypts even where the server does not ask for it, as ``tls://`` demands.

    Without it whoever sits between us could take the server's wish away and read our credentials.
    """

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        info["tls_required"] = True
        await super()._process_info(info, initial_connection)
