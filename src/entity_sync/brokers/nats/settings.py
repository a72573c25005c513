"""How to reach a NATS server.

The URL: ``nats://user:password@host:4222`` or ``nats://token@host``; ``tls://`` demands encryption.
Several hosts of one cluster may be given, separated by commas. ``?creds=FILE`` names a credentials
file, ``?ca=``, ``?cert=`` and ``?key=`` files for TLS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from entity_sync.brokers.address import Address, tls_context, warn_plaintext
from entity_sync.errors import ConfigurationError

__all__ = ["options_of"]

_PORT = 4222
_OPTIONS = {"creds", "ca", "cert", "key"}


def options_of(url: str) -> dict[str, Any]:
    """What the client's `connect` is given; raises ConfigurationError where the URL makes no sense."""
    address = Address.parse(url, _PORT)
    if unknown := set(address.options).difference(_OPTIONS):
        raise ConfigurationError(f"a nats:// URL has no option {min(unknown)}")
    hosts = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in address.hosts]
    options: dict[str, Any] = {
        "servers": [f"{address.scheme}://{host}" for host in hosts],
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,
        "reconnect_time_wait": 0,
        "connect_timeout": 2,
    }
    if address.password is not None:
        options |= {"user": address.user or "", "password": address.password}
    elif address.user is not None:
        options["token"] = address.user
    if creds := address.options.get("creds"):
        if not Path(creds).is_file():
            raise ConfigurationError("the file that ?creds= of a nats:// URL names cannot be read")
        options["user_credentials"] = creds
    if address.scheme == "tls" or address.options.keys() & {"ca", "cert"}:
        options["tls"] = tls_context(address.options)
    else:
        warn_plaintext(address, "tls://")
    return options
