"""How to reach a Redis server.

The URL: ``redis://user:password@host:6379/0``, the last the number of a database. ``?mode=stream`` makes
changes travel by streams; ``?ca=``, ``?cert=`` and ``?key=`` name files for TLS.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from entity_sync.brokers.address import Address, tls_context, warn_plaintext
from entity_sync.brokers.redis.line import TIMEOUT, Opener
from entity_sync.errors import ConfigurationError

__all__ = ["address_of", "opener_like", "opener_of"]

_PORT = 6379
_OPTIONS = {"mode", "ca", "cert", "key"}


def address_of(url: str) -> Address:
    """Take a URL apart; raises ConfigurationError where it makes no sense."""
    address = Address.parse(url, _PORT)
    if unknown := set(address.options).difference(_OPTIONS):
        raise ConfigurationError(f"a redis:// URL has no option {min(unknown)}")
    if address.options.get("mode", "pubsub") not in {"pubsub", "stream"}:
        raise ConfigurationError("?mode= of a redis:// URL is pubsub or stream")
    if len(address.hosts) > 1:
        raise ConfigurationError("a redis:// URL names one host")
    if address.path and not address.path.isdecimal():
        raise ConfigurationError("the path of a redis:// URL is the number of a database")
    return address


def opener_of(address: Address) -> Opener:
    """Connections to this address; raises ConfigurationError when a file of its options cannot be used."""
    [(host, port)] = address.hosts
    settings: dict[str, Any] = {
        "host": host,
        "port": port,
        "username": address.user,
        "password": address.password,
        "db": int(address.path or 0),
    }
    if address.scheme == "redis":
        warn_plaintext(address, "rediss://")
        return lambda: Connection(**settings, **_ours())
    tls_context(address.options)  # the library takes the files' names; a mistake in them is told now
    names = {"ca": "ssl_ca_certs", "cert": "ssl_certfile", "key": "ssl_keyfile"}
    settings |= {names[name]: value for name, value in address.options.items() if name in names}
    return lambda: SSLConnection(**settings, **_ours())


def opener_like(client: Redis) -> Opener:
    """Connections like those of a client."""
    pool = client.connection_pool
    settings = {
        name: value
        for name, value in pool.connection_kwargs.items()
        if not name.startswith(("maint_", "maintenance_", "oss_", "orig_"))
    }
    return lambda: pool.connection_class(**(settings | _ours()))


def _ours() -> dict[str, Any]:
    """Settings that the rest relies on: bytes, no timeout but ours, no attempts of the library's own."""
    return {
        "protocol": 2,
        "decode_responses": False,
        "socket_timeout": None,
        "socket_connect_timeout": TIMEOUT,
        "health_check_interval": 0,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "retry_on_timeout": False,
    }
