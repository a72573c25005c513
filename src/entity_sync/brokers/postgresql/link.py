"""The two sessions of a node from one `connect` to the next `close`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from entity_sync.brokers.inbox import Inbox
from entity_sync.brokers.postgresql.session import PATIENCE, Session
from entity_sync.brokers.postgresql.source import Source
from entity_sync.errors import BrokerUnavailable

__all__ = ["Link"]


class Link:
    """One session that notifies and, once something is subscribed, one that listens.

    They fail apart: a session that cannot notify any more is opened anew by the next `notify`, and
    nothing is lost by that; the end of the one that listens ends the link.

    Attributes:
        inbox: what arrived.
    """

    def __init__(self, source: Source, channel: str) -> None:
        self.inbox = Inbox()
        self._source = source
        self._channel = channel
        self._sessions: set[Session] = set()
        self._notifier: Session | None = None
        self._turn, self._joining = asyncio.Lock(), asyncio.Lock()
        self._following: asyncio.Task[None] | None = None
        self._is_closed = False

    async def start(self) -> None:
        """Open the session that notifies.

        Raises:
            BrokerUnavailable: PostgreSQL cannot be reached, or refuses.
        """
        async with self._translated(), asyncio.timeout(PATIENCE):
            self._notifier = await self._open()

    async def notify(self, texts: Sequence[str]) -> None:
        """Return once a transaction that notifies all texts is committed; raises as `start`."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        async with self._translated():
            async with asyncio.timeout_at(deadline):
                await self._turn.acquire()  # a session runs one statement at a time
            try:
                async with asyncio.timeout_at(deadline):
                    session = await self._usable_notifier()
                    await session.notify(self._channel, texts)
            except TimeoutError:  # it may be stuck in a black hole of its own
                self._notifier, stuck = None, self._notifier
                await self._drop(stuck)
                raise
            finally:
                self._turn.release()

    async def listen(self, take: Callable[[str], None]) -> None:
        """Return once PostgreSQL confirmed that texts go to ``take``; raises as `start`."""
        async with self._translated(), asyncio.timeout(PATIENCE), self._joining:
            if self._following is None:
                session = await self._open()
                try:
                    await session.listen(self._channel, take)
                except BaseException:
                    await self._drop(session)
                    raise
                self._following = asyncio.get_running_loop().create_task(self._follow(session))
            elif self._following.done():
                raise BrokerUnavailable("the session that listens has ended")

    async def close(self) -> None:
        """End both sessions, for two seconds at most."""
        self._is_closed = True
        self.inbox.close()
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following], timeout=1.0)
        sessions, self._sessions = self._sessions, set()
        await asyncio.gather(*(session.close() for session in sessions), return_exceptions=True)

    async def _open(self) -> Session:
        session = await self._source.open()
        if self._is_closed:
            await session.close()
            raise BrokerUnavailable("closed meanwhile")
        self._sessions.add(session)
        return session

    async def _usable_notifier(self) -> Session:
        session = self._notifier
        if session is None or session.has_ended:
            self._notifier = None
            await self._drop(session)
            session = self._notifier = await self._open()
        return session

    async def _drop(self, session: Session | None) -> None:
        if session is not None and session in self._sessions:
            self._sessions.discard(session)
            with suppress(Exception):
                await session.close(is_dead=True)

    async def _follow(self, session: Session) -> None:
        try:
            async with self._translated():
                await session.follow()
        except BrokerUnavailable as error:
            self.inbox.fail(error)

    @asynccontextmanager
    async def _translated(self) -> AsyncGenerator[None, None]:
        try:
            yield
        except BrokerUnavailable as error:
            raise BrokerUnavailable(f"{self._source}: {error}") from None
        except TimeoutError:
            raise BrokerUnavailable(f"{self._source} did not answer within {PATIENCE:g} s") from None
        except Exception as error:  # noqa: BLE001 - asyncpg and psycopg have hierarchies of their own
            raise BrokerUnavailable(f"{self._source}: {self._source.reason(error)}") from None
