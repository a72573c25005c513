"""One order, watched by a client, whose async sessions notify."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from entity_sync import EntitySync
from entity_sync.capture.sqlalchemy import notify_on_commit
from entity_sync.testing import MemoryClient, connect, settled

__all__ = ["Base", "Order", "Watching", "watching"]


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    total: Mapped[int] = mapped_column(default=0)


@dataclass(frozen=True)
class Watching:
    """Attributes: the database, its sessions, and a client that shows order 1, whose total is 0."""

    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    sync: EntitySync
    client: MemoryClient

    async def set(self, session: AsyncSession, total: int) -> None:
        """Change the order, without a commit."""
        order = await session.get(Order, 1)
        assert order is not None
        order.total = total

    async def cut_off(self, request: Coroutine[None, None, None]) -> None:
        """Cancel a request as its COMMIT begins."""
        committing = asyncio.Event()
        event.listen(self.engine.sync_engine, "commit", lambda _connection: committing.set(), once=True)
        task = asyncio.create_task(request)
        await committing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def shown(self) -> int:
        """The total that comes next."""
        [row] = (await self.client.receive_until("snapshot"))["rows"]
        total: int = row["data"]
        return total


@asynccontextmanager
async def watching(path: Path) -> AsyncGenerator[Watching]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}/shop.db")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(text("insert into orders values (1, 0)"))
    sessions = async_sessionmaker(engine)
    sync = EntitySync()
    notify_on_commit(sync, sessions, {Order: "orders"})

    @sync.entity("orders")
    async def load(id: int) -> int | None:
        async with sessions() as session:
            order = await session.get(Order, id)
            return None if order is None else order.total

    async with sync, connect(sync) as client:
        watching = Watching(engine, sessions, sync, client)
        await client.subscribe("orders", "1")
        assert await watching.shown() == 0
        await settled(sync)
        yield watching
    await engine.dispose()
