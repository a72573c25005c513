"""Where sessions come from, a URL or a pool, and what may be told when one fails."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from entity_sync.brokers.address import Address, warn_plaintext
from entity_sync.brokers.postgresql.session import (
    Session,
    borrow_session,
    check_driver,
    check_psycopg,
    open_session,
)
from entity_sync.errors import ConfigurationError

__all__ = ["Source"]

_OURS = {"channel", "driver"}  # options that PostgreSQL does not know


class Source:
    """What `PostgresBroker` was given.

    Attributes:
        options: the URL's.
    """

    def __init__(self, given: Any) -> None:
        """
        Raises:
            ConfigurationError: it is neither a URL that can be used nor a pool.
            MissingExtra: its driver is not installed.
        """
        self._given, self._driver, self._name = given, "", "PostgreSQL"
        self._secrets: set[str] = set()
        self.options: dict[str, str] = {}
        if isinstance(given, str):
            self._read(given)
        elif not (hasattr(given, "acquire") or hasattr(given, "getconn")):
            raise ConfigurationError(
                "a postgresql broker takes a URL, an asyncpg.Pool or a psycopg_pool.AsyncConnectionPool, "
                f"not {type(given).__name__}"
            )
        elif not hasattr(given, "acquire"):
            check_psycopg()

    def __str__(self) -> str:
        return self._name

    async def open(self) -> Session:
        """Connect, or take a connection out of the pool; raises whatever the driver raises."""
        if isinstance(self._given, str):
            return await open_session(self._given, self._driver)
        return await borrow_session(self._given)

    def reason(self, error: Exception) -> str:
        """What the server, the network or TLS said, in one line; of any other error only its kind.

        What a driver says of an option that it cannot use may quote the URL with its password.
        """
        is_said = getattr(error, "sqlstate", None) is not None or type(error).__name__ == "OperationalError"
        lines = str(error).strip().splitlines() if is_said or isinstance(error, OSError) else []
        text = lines[0][:300] if lines else type(error).__name__
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _read(self, url: str) -> None:
        parts = urlsplit(url)
        self.options = dict(parse_qsl(parts.query))
        self._driver = check_driver(self.options.get("driver"))
        credentials, separator, host = parts.netloc.rpartition("@")
        directory = self.options.get("host", "") if not host else unquote(host.rpartition(":")[0] or host)
        if directory.startswith("/"):  # of a Unix socket, spelt in either of PostgreSQL's two ways
            self._name = f"{parts.scheme}://{directory}"
            parts = parts._replace(netloc=f"{credentials}{separator}localhost")
            address = Address.parse(urlunsplit(parts), 5432)
        elif "host" in self.options:
            raise ConfigurationError(
                f"the host of a {parts.scheme} broker is written before the path, not as an option"
            )
        else:
            address = Address.parse(url, 5432)
            self._name = str(address)
            if self.options.get("sslmode") not in {"verify-full", "verify-ca"}:
                warn_plaintext(address, "?sslmode=verify-full")
        passwords = (address.password, self.options.get("password"), self.options.get("sslpassword"))
        self._secrets = {spelt for word in passwords if word for spelt in (word, quote(word, safe=""))}
        # Not decoded and encoded again: the drivers do not agree on what a + stands for.
        kept = (part for part in urlsplit(url).query.split("&") if part.partition("=")[0] not in _OURS)
        self._given = urlunsplit(urlsplit(url)._replace(query="&".join(kept)))
