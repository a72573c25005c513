"""One running node: its hub, its link to the others, its beats, its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol, TypeAlias

from entity_sync.brokers.base import Broker
from entity_sync.clock import Clock
from entity_sync.core import v2
from entity_sync.core.envelope import Envelope
from entity_sync.core.frame import Frame
from entity_sync.core.messages import Beat, Limits, Stale, Welcome
from entity_sync.core.rights import RIGHTS, Verdict, named, told, verdict
from entity_sync.core.standing import Standing
from entity_sync.core.trouble import Trouble
from entity_sync.hub.admission import Authenticator
from entity_sync.hub.auditor import Audit, Auditor
from entity_sync.hub.captures import Capture, capturing
from entity_sync.hub.hub import Hub
from entity_sync.hub.link import Link, Reactions
from entity_sync.hub.principals import Holder, Principals
from entity_sync.hub.rights import Rights
from entity_sync.hub.tasks import Tasks
from entity_sync.loading.catalog import Catalog
from entity_sync.model import Change, ClientMessage, EntityKey, Receipt, Source, Tags
from entity_sync.settings import Settings

__all__ = ["Application", "Member", "Node", "OnMessage"]

_SLICE = 8_192  # views that keys of one notify may concern in one turn of the loop

OnMessage: TypeAlias = Callable[[ClientMessage], Awaitable[Any]]


class Member(Holder, Protocol):
    """A connection, as far as its node concerns it."""

    def asked(self) -> list[str]:
        """What of the application's is asked for it and has not answered, in words for people."""
        ...

    def inform(self) -> None:
        """The node's standing changed."""
        ...

    def withhold(self) -> None:
        """Send no states until who may see what has been asked again."""
        ...

    def drain(self) -> None:
        """Say goodbye and close."""
        ...

    async def closed(self) -> None:
        """Return once it is closed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What the application declared, as its node needs it."""

    catalog: Catalog
    settings: Settings
    clock: Clock
    random: Random
    authenticate: Authenticator | None = None
    on_message: OnMessage | None = None
    captures: Sequence[Capture] = ()
    auditor: Auditor | None = None
    origins: frozenset[str] = field(default_factory=frozenset)
    envelope: Envelope = field(default_factory=Envelope)


class Node:
    """A started application.

    Attributes:
        id: this start of it, random; shown to clients so that they can tell nodes apart.
        is_draining: it takes no new connections.
        is_closed: it sends no states, since it may not have heard who was revoked (`Settings.fail_closed`).
        standing: whether everything shown may be old.
        principals: which connections speak for whom.
        rights: what they may see.
        strangers: how many WebSockets were refused for the page that they came from.
    """

    def __init__(self, application: Application, broker: Broker) -> None:
        self.application = application
        self.id = _draw(application.random)
        self.is_draining = self.is_closed = False
        self.strangers = 0
        self.standing = Standing()
        self.members: dict[Member, None] = {}
        self.hub = Hub(
            application.catalog, application.clock, application.settings, application.random, self._resynced
        )
        self.principals = Principals()
        self.rights = Rights(application.catalog, application.clock, application.settings)
        self.link = Link(
            broker,
            (*application.catalog.topics, RIGHTS),
            application.envelope,
            Source(self.id, _draw(application.random)),
            settings=application.settings,
            clock=application.clock,
            random=application.random,
            reactions=Reactions(
                changed=self._changed,
                resync=self._resync,
                lost=self._lost,
                is_watched=lambda: bool(self.hub.views),
            ),
        )
        self._tasks = Tasks()
        self._count = 0
        self._pid = os.getpid()
        self._lost()

    # Life

    async def start(self) -> None:
        """Try the broker once, then keep trying in the background; begin to beat.

        Raises:
            ConfigurationError: the broker can never work as it is set up.
        """
        running = self._tasks.start(self.link.run())
        attempted = self._tasks.start(self.link.attempted())
        await asyncio.wait((running, attempted), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await self.close()
            running.result()
        self._tasks.start(self._beat())
        self._tasks.start(self.hub.overdue.run(self._is_certain))
        for capture in self.application.captures:
            self._tasks.start(
                capturing(capture, self.hub.resync, self.application.clock, self.application.settings)
            )
        if self.application.auditor is not None:
            self._tasks.start(self._audit(self.application.auditor))

    async def drain(self) -> None:
        """Take no new connections, say goodbye to all, and wait for them a bounded time."""
        self.is_draining = True
        members = list(self.members)
        for member in members:
            member.drain()
        waiting = [self._tasks.start(member.closed()) for member in members]

        def expire() -> None:
            for task in waiting:
                task.cancel()

        timer = self.application.clock.call_later(self.application.settings.drain_timeout, expire)
        await asyncio.gather(*waiting, return_exceptions=True)
        timer.cancel()

    async def close(self) -> None:
        """Stop everything, also if whoever waits for it is cancelled."""
        try:
            await self.link.outgoing.bye()
        finally:
            try:
                await self._tasks.close()
            finally:
                await self.hub.close()

    @property
    def is_ours(self) -> bool:
        """Whether this process started it, and did not inherit it by a fork."""
        return self._pid == os.getpid()

    @property
    def is_ready(self) -> bool:
        """Whether new clients are welcome: once the broker confirmed, until the drain."""
        return self.link.is_confirmed and not self.is_draining

    @property
    def is_full(self) -> bool:
        """Whether one more connection would be one too many."""
        return len(self.members) >= self.application.settings.max_connections

    @property
    def idle(self) -> bool:
        """Whether everything known so far has reached the clients, and nothing is asked for them."""
        return self.hub.idle and self.link.outgoing.idle and not self.asked()

    def asked(self) -> set[str]:
        """What of the application's is asked for clients and has not answered, in words for people."""
        return {name for member in self.members for name in member.asked()}

    @property
    def welcome(self) -> Frame:
        """The first frame of a v2 connection."""
        settings = self.application.settings
        limits = Limits(settings.max_message, settings.max_subscriptions, settings.max_view_bytes)
        beat_ms, stale_ms = round(settings.beat_interval * 1_000), round(settings.stale_after * 1_000)
        return v2.frame(Welcome(node=self.id, beat_ms=beat_ms, stale_ms=stale_ms, limits=limits, features=()))

    # Changes

    async def notify(
        self, keys: Sequence[EntityKey], tags: Tags | None = None, revision: int | None = None
    ) -> Receipt:
        """Load what is watched here, and tell the other nodes."""
        token = self._token()
        changes = [Change(key, tags=tags, causes=(token,), revision=revision) for key in keys]
        return await self._tell(changes, token)

    async def notify_together(
        self, said: Sequence[tuple[Sequence[EntityKey], Tags | None]], token: str
    ) -> Receipt:
        """The same of what changed at once, each with its tags, under a token of the caller's."""
        changes = [Change(key, tags=tags, causes=(token,)) for keys, tags in said for key in keys]
        return await self._tell(changes, token)

    async def revoke(self, principal_key: str) -> Receipt:
        """This principal is nobody any more: end what its connections watch, here and on the other nodes."""
        return await self._tell([told(named(principal_key), Verdict.REVOKED)], self._token())

    async def reauthorize(self, principal_key: str) -> Receipt:
        """What this principal may see has changed: ask ``authorize`` again, here and on the other nodes."""
        return await self._tell([told(named(principal_key), Verdict.REAUTHORIZE)], self._token())

    def _token(self) -> str:
        self._count += 1
        return f"{self.id}.{self._count}"

    async def _tell(self, changes: Sequence[Change], token: str) -> Receipt:
        concerned = 0
        for change in changes:
            concerned += self._changed(change)
            if concerned > _SLICE:
                concerned = 0
                await asyncio.sleep(0)
        accepted = await self.link.outgoing.publish(changes)
        return Receipt("accepted" if accepted else "deferred", token)

    def _changed(self, change: Change) -> int:
        if change.key.entity != RIGHTS:
            return self.hub.changed(change)
        self.principals.tell(change.key.id, verdict(change))
        return 0

    def _resync(self, names: Collection[str] | None) -> None:
        is_doubted = names is None or RIGHTS in names or self.is_closed
        self.is_closed = self.is_closed and not self.link.is_up
        self.hub.resync(names)  # first: a refusal may end the last view that an earlier one waits for
        if is_doubted:
            self.principals.doubt()

    def _lost(self) -> None:
        if self.application.settings.fail_closed:
            self.is_closed = True
            for member in self.members:
                member.withhold()
        since = self.application.clock.now() - self.link.age
        self._stand(Trouble(Stale(reason="broker", age_ms=0), since))

    def _resynced(self) -> None:
        if self.link.is_settled:
            self._stand(None)

    def _stand(self, stale: Trouble | None) -> None:
        if self.standing.stale is not stale:
            self.standing.stale = stale
            for member in self.members:
                member.inform()

    async def _beat(self) -> None:
        clock, interval = self.application.clock, self.application.settings.beat_interval
        while True:
            await clock.sleep(interval)
            self.hub.fanout.tell(v2.frame(Beat(link_ms=round(self.link.age * 1_000))))

    def _is_certain(self) -> bool:
        return self.standing.stale is None

    async def _audit(self, auditor: Auditor) -> None:
        clock, random = self.application.clock, self.application.random
        audit = Audit(auditor, self.hub, self._tasks, clock=clock, random=random, is_certain=self._is_certain)
        await audit.run()


def _draw(random: Random) -> str:
    return f"{random.getrandbits(64):016x}"
