"""A broker's URL, taken apart and shown without its secrets."""

from __future__ import annotations

import ipaddress
import logging
import ssl
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from entity_sync.errors import ConfigurationError

__all__ = ["Address", "tls_context", "warn_plaintext"]

_log = logging.getLogger("entity_sync.brokers")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker listens, and what to tell it.

    Attributes:
        scheme: the URL's, in lower case.
        hosts: (host, port) pairs, in the order of the URL; ``nsq://a:4150,b:4150`` has two.
        user, password: credentials, decoded; None where the URL has none.
        path: what follows the hosts, without its leading slash, decoded.
        options: the query's members; the last of equal names wins.
    """

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    path: str = ""
    options: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str, default_port: int) -> Address:
        """Take a URL apart.

        Raises:
            ConfigurationError: it names no host, or a port that is none; the text holds no secret.
        """
        parts = urlsplit(url)
        credentials, _, places = parts.netloc.rpartition("@")
        user, separator, password = credentials.partition(":")
        return cls(
            scheme=parts.scheme,
            hosts=tuple(_host(parts.scheme, place, default_port) for place in places.split(",")),
            user=unquote(user) if user else None,
            password=unquote(password) if separator else None,
            path=unquote(parts.path.removeprefix("/")),
            options=dict(parse_qsl(parts.query)),
        )

    @property
    def is_local(self) -> bool:
        """Whether nothing sent there leaves this machine."""
        return all(_is_loopback(host) for host, _ in self.hosts)

    def __str__(self) -> str:
        places = ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts
        )
        return f"{self.scheme}://{places}"


def warn_plaintext(address: Address, instead: str) -> None:
    """Warn where messages would cross a network in the clear.

    Args:
        instead: what to write in the URL for an encrypted link.
    """
    if not address.is_local:
        _log.warning("%s is not encrypted and leaves this machine; use %s", address, instead)


def tls_context(options: dict[str, str]) -> ssl.SSLContext:
    """Verifying the broker's certificate and name, by the system's authorities or by ``?ca=FILE``.

    ``?cert=FILE`` and ``?key=FILE`` name a certificate of our own.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=options.get("ca"))
        if "cert" in options:
            context.load_cert_chain(options["cert"], options.get("key"))
    except OSError as error:
        raise ConfigurationError(f"a file of the broker URL's TLS options cannot be used: {error}") from None
    return context


def _host(scheme: str, place: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{place}")
    try:
        port = parts.port
    except ValueError:
        raise ConfigurationError(f"the port of the {scheme} broker's URL is no port") from None
    if not parts.hostname:
        raise ConfigurationError(
            f"the URL of the {scheme} broker names no host, as {scheme}://127.0.0.1 does"
        )
    return parts.hostname, default_port if port is None else port


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
