"""Where an nsqd listens, and how long anything may take there."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from entity_sync.brokers.nsq.protocol import ProtocolError
from entity_sync.errors import BrokerUnavailable

__all__ = ["PATIENCE", "Endpoint", "bounded"]

PATIENCE = 4.5
"""Seconds for an answer of nsqd, and for all that a caller waits for at once."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One nsqd.

    Attributes:
        tls: verifies its certificate; None speaks in the clear.
        secret: for AUTH; never in a text.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    secret: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"nsqd [{self.host}]:{self.port}" if ":" in self.host else f"nsqd {self.host}:{self.port}"


@asynccontextmanager
async def bounded(peer: object) -> AsyncGenerator[None, None]:
    """Turn every way in which a peer fails, or does not answer in time, into BrokerUnavailable."""
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except TimeoutError:
        raise BrokerUnavailable(f"{peer} did not answer within {PATIENCE:g} s") from None
    except (OSError, ProtocolError) as error:
        raise BrokerUnavailable(f"{peer}: {error}") from error
