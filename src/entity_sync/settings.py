"""Every number an operator may want to turn, with its default and its unit."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from entity_sync.errors import ConfigurationError

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits and timings of a node; safe as they are.

    Attributes:
        max_message: bytes of one client message; a larger one closes with 1009.
        max_subscriptions: subscriptions of one connection.
        max_connections: connections of this process.
        max_outgoing: bytes of answers that may wait for a slow client (states do not count:
            they are marks, and the newest state replaces the one that waited); one alone may be longer.
        max_view_bytes: bytes of one view's rows as JSON, with their keys: about what its snapshot has.
        view_memory: bytes that the rows of all views in this process, and the frames made of them and kept
            for others, may take. Beyond it the views used longest ago keep their version only: their next
            state is loaded when somebody is to be sent it, and sent whole. A result that finds no room even
            so is ``busy``, and tried again. What is being loaded or sent does not count, and the view in
            use may exceed it.
        handshake_timeout: seconds until a handshake must be complete (direct door).
        authenticate_timeout: seconds a v2 client has for its first secret or subscribe, and
            seconds the application's ``authenticate`` and ``authorize`` may take.
        authorize_ttl: seconds after which ``authorize`` is asked again about what is watched.
        max_questions: questions of ``authorize``, and after a gap of ``authenticate``, that run at once
            in this process; of one connection, an eighth of it.
        expiry_warning: seconds before the end of a principal at which its client is warned; of one that has
            less than twice as long, when half of that is over; but not in its last second, so with less
            than 1 here, or of less than 2 s, nobody is.
        expiry_grace: seconds after its end for which a client is still served.
        ping_interval, ping_timeout: seconds between WebSocket pings on v2, and from a ping to
            its overdue pong (direct door; an ASGI server has its own).
        classic_ping_interval, classic_pong_deadline: the same on classic: the Go original
            pings every 54 s and drops a connection 60 s after the last pong.
        slow_timeout: seconds a connection may stay unwritable before it is closed as slow.
        beat_interval, stale_after: seconds between beats, and of silence after which a v2
            client says it is stale.
        max_loads, max_entity_loads: loads running at once in this process, and of one entity.
        load_attempts: tries of one load before its subscribers are told ``stale``.
        retry_delay, max_retry_delay: seconds before the second try, doubling up to the maximum; of a load,
            of an ``authorize`` that raised or gave no answer in time, of an ``authenticate`` that did so
            when it was asked again after a gap, and of a capture.
        breaker_failures: loads of one entity that fail in a row until no more of it begin and what waits
            is told ``stale``. Only keys that had been loaded before count, and a call of a batch once.
        breaker_pause, max_breaker_pause: seconds until one load of it may try again, doubling up to the
            maximum; once one succeeds, all begin again.
        resync_rate: views loaded again per second after a gap, and because of rows that ride along and live
            queries; small sets of them do not wait for large ones.
        max_deferred: distinct keys kept while the broker is away; beyond it every node is told to
            load the entity that has most of them again, whole.
        publish_timeout: seconds the broker has to accept a message.
        echo_interval, echo_timeout: seconds between messages of a node to itself through the
            broker, and seconds until one that did not come back means that the link is broken.
        gap_grace: seconds that a message may come late before it counts as lost.
        gap_interval: seconds between two reloads of an entity because messages were lost.
        quiet_after: seconds of silence about an entity after which its last number is told.
        alive_interval: seconds between signs of life of a node; more where there are many nodes.
        replica_lag: seconds that the replica may be behind which loads of entities with ``revision=`` read;
            a revision that was notified and is not found by then is taken for a mistake.
        drain_timeout: seconds an orderly stop may take.
        fail_closed: send no states while the broker is away, since a revocation may be missed, until it is
            back and everybody has been asked who they are and what they may see.
        classic_snapshot: push the current state to a classic client when it subscribes; the
            Go original does not.
    """

    max_message: int = 65_536
    max_subscriptions: int = 1_000
    max_connections: int = 10_000
    max_outgoing: int = 1_048_576
    max_view_bytes: int = 524_288
    view_memory: int = 268_435_456
    handshake_timeout: float = 10.0
    authenticate_timeout: float = 10.0
    authorize_ttl: float = 60.0
    max_questions: int = 64
    expiry_warning: float = 60.0
    expiry_grace: float = 25.0
    ping_interval: float = 25.0
    ping_timeout: float = 10.0
    classic_ping_interval: float = 54.0
    classic_pong_deadline: float = 60.0
    slow_timeout: float = 60.0
    beat_interval: float = 5.0
    stale_after: float = 15.0
    max_loads: int = 64
    max_entity_loads: int = 32
    load_attempts: int = 3
    retry_delay: float = 0.1
    max_retry_delay: float = 10.0
    breaker_failures: int = 20
    breaker_pause: float = 1.0
    max_breaker_pause: float = 30.0
    resync_rate: float = 1_000.0
    max_deferred: int = 100_000
    publish_timeout: float = 5.0
    echo_interval: float = 5.0
    echo_timeout: float = 5.0
    gap_grace: float = 2.0
    gap_interval: float = 5.0
    quiet_after: float = 1.0
    alive_interval: float = 10.0
    replica_lag: float = 2.0
    drain_timeout: float = 10.0
    fail_closed: bool = False
    classic_snapshot: bool = False

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not isinstance(value, bool) and not 0 < value < inf:
                raise ConfigurationError(f"Settings.{name} must be positive and finite, not {value!r}")
        if self.stale_after <= self.beat_interval:
            raise ConfigurationError(
                "Settings.stale_after must exceed beat_interval, or every client is stale"
            )
        if self.view_memory < self.max_view_bytes:
            raise ConfigurationError(
                "Settings.view_memory must be at least max_view_bytes, or the largest view finds no room"
            )

    def retry_after(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, before they are spread."""
        return min(self.max_retry_delay, self.retry_delay * 2.0 ** min(failures - 1, 30))
