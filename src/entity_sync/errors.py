"""The exceptions of Entity Sync; the client adds `entity_sync.client.Refusal`.

EntitySyncError
├── ConfigurationError        a mistake in the application's own set-up
│   ├── UnknownEntity         a name nobody registered
│   ├── UnknownBroker         a broker URL whose scheme nobody registered
│   └── MissingExtra          an optional dependency is not installed
├── BadId                     an id that is not in its entity's canonical form
├── NotRunning                used before start or after stop
├── BrokerError
│   └── BrokerUnavailable     the broker did not accept what was handed to it
├── LoadFailed                a load gave no usable result
├── AccessDenied              the principal may not (raised by applications too)
└── ConnectionLost            the client's link to the server ended
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from traceback import walk_tb

__all__ = [
    "AccessDenied",
    "BadId",
    "BrokerError",
    "BrokerUnavailable",
    "ConfigurationError",
    "ConnectionLost",
    "EntitySyncError",
    "LoadFailed",
    "MissingExtra",
    "NotRunning",
    "UnknownBroker",
    "UnknownEntity",
    "described",
    "placed",
]

_OURS = Path(__file__).parent
_STANDARD = Path(sysconfig.get_path("stdlib"))
_INSTALLED = frozenset({"site-packages", "dist-packages"})


class EntitySyncError(Exception):
    """Base of every exception this package raises."""


class ConfigurationError(EntitySyncError):
    """The application is set up in a way that cannot work; the text says what to change."""


class UnknownEntity(ConfigurationError):
    """A name that is no registered entity.

    Attributes:
        entity: the name as given.
    """

    def __init__(self, entity: str, known: tuple[str, ...] = ()) -> None:
        self.entity = entity
        names = ", ".join(known) or "none"
        super().__init__(f"entity {entity!r} is not registered (registered: {names})")


class UnknownBroker(ConfigurationError):
    """A broker URL whose scheme no adapter answers to, or that has none.

    Attributes:
        scheme: the scheme as given; empty where there is none.
    """

    def __init__(self, scheme: str, known: tuple[str, ...], text: str | None = None) -> None:
        """
        Args:
            text: instead of "no broker answers to …".
        """
        self.scheme = scheme
        super().__init__(
            f"{text or f'no broker answers to {scheme!r}://'} (known: {', '.join(known)}); "
            "adapters of other packages register the entry point group 'entity_sync.brokers'"
        )


class MissingExtra(ConfigurationError):
    """An optional dependency is not installed; the text names the command that installs it.

    Attributes:
        extra: the extra of the distribution that brings it.
    """

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{what} needs an optional dependency: pip install 'entity-sync[{extra}]'")


class BadId(EntitySyncError):
    """An id that is not the one canonical spelling of its entity's id type.

    Attributes:
        entity: the entity's name.
    """

    def __init__(self, entity: str, reason: str) -> None:
        self.entity = entity
        super().__init__(f"bad id for {entity!r}: {reason}")


class NotRunning(EntitySyncError):
    """Entity Sync was used before it was started, after it was stopped, or in a forked child."""


class BrokerError(EntitySyncError):
    """Something between this node and the broker went wrong."""


class BrokerUnavailable(BrokerError):
    """The broker did not accept what was handed to it."""


class LoadFailed(EntitySyncError):
    """A load gave no usable result.

    Attributes:
        code: the error code clients see, ``load``, ``too_large`` or ``busy``.
        retryable: whether the same load may succeed without a change of the application.
    """

    def __init__(self, text: str, *, code: str = "load", retryable: bool = False) -> None:
        self.code = code
        self.retryable = retryable
        super().__init__(text)


class AccessDenied(EntitySyncError):
    """The principal may not do this.

    Raised by ``authenticate`` it refuses the secret. Raised by a loader it makes the key gone for this
    audience, as if nobody had ever notified it, so that a client cannot tell forbidden from absent;
    ``None`` is an answer, which covers notifies. A batch loader says it of one key: as that key's value.
    Raised by one it costs calls to find which key it is for.
    """

    def __init__(self, text: str = "access denied") -> None:
        super().__init__(text)


class ConnectionLost(EntitySyncError):
    """The client's connection ended and will not be opened again.

    Attributes:
        code: the WebSocket close code, 1006 where the peer sent none.
        reason: the close reason, often empty.
    """

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"connection lost: {code} {reason}".rstrip())


def placed(error: BaseException) -> str:
    """Type and place of what an application raised, where its text may hold what no log should have.

    The place is the innermost line of the application itself, which called a library where that raised. Of
    an application that is installed among the libraries it is the outermost one.
    """
    kind = type(error).__name__
    frames = [(one.f_code.co_filename, line) for one, line in walk_tb(error.__traceback__)]
    if not frames:
        return kind
    homes = [_home(file) for file, _ in frames]
    if "application" in homes:
        file, line = frames[-1 - homes[::-1].index("application")]
    else:
        file, line = frames[homes.index("installed") if "installed" in homes else -1]
    return f"{kind} at {file}:{line}"


def _home(file: str) -> str:
    """Whose code a file of a traceback holds."""
    path = Path(file)
    if file.startswith("<frozen ") or path.is_relative_to(_OURS):
        return "other"
    if not _INSTALLED.isdisjoint(path.parts):  # in some places these are within the standard library
        return "installed"
    return "other" if path.is_relative_to(_STANDARD) else "application"


def described(error: BaseException) -> str:
    """Type and text of what an application raised, also where its text cannot be had."""
    kind = type.__dict__["__name__"].__get__(type(error))  # and not what its metaclass makes of that
    try:
        return f"{kind}: {error}".removesuffix(": ")
    except Exception as other:  # noqa: BLE001 - the text is the application's code
        return f"{kind}, whose text raised {type(other).__name__}"
