"""What a commit tells of keys that an entity cannot have, besides those that it can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from entity_sync import BadId, EntitySync, UnknownEntity
from entity_sync.capture.sqlalchemy import Watched, notify_after_commit, notify_on_commit
from entity_sync.testing import connect, settled


class Base(DeclarativeBase):
    pass


class Art(Base):
    __tablename__ = "art"
    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str]


@pytest.fixture
def sessions(tmp_path: Path):
    engine = create_engine(f"sqlite:///{tmp_path}/art.db")
    Base.metadata.create_all(engine)
    yield sessionmaker(engine)
    engine.dispose()


async def test_an_id_that_cannot_be_keeps_no_others_back(sessions: Any, caplog: pytest.LogCaptureFixture):
    """The others of the commit are told, and the log names those that are not, in one line."""
    sync = EntitySync()
    notify_on_commit(sync, sessions, {Art: Watched("art", id="slug")})

    @sync.entity("art")
    def art(id: str) -> bool:
        with sessions() as session:
            return bool(session.query(Art).filter_by(slug=id).count())

    async with sync, connect(sync) as client:
        await client.subscribe("art", "one", "two")
        await settled(sync)
        assert len(client.pending()) == 3
        with sessions.begin() as session:
            slugs = ["one", *(f"bad\n{number}" for number in range(9)), "two"]
            session.add_all([Art(slug=slug) for slug in slugs])
        await settled(sync)
        assert {one["id"]: one["rows"] for one in client.pending()} == {
            "one": [{"data": True}],
            "two": [{"data": True}],
        }
    (record,) = caplog.records
    assert record.getMessage() == (
        "a commit changed 9 of art whose ids cannot be, and nobody was told: "
        r"'bad\n0', 'bad\n1', 'bad\n2', …: bad id for 'art': an id has no control characters"
    )


async def test_mistakes_of_a_key_that_is_said_raise_at_once(sessions: Any, caplog: pytest.LogCaptureFixture):
    """The errors are those of notify, and what else the transaction says is told; a handle will do."""
    sync, other = EntitySync("memory://one"), EntitySync("memory://another")
    notify_on_commit(sync, sessions, {Art: "art"})
    notify_on_commit(other, sessions, {Art: "art"})
    sync.entity("art")(load)
    others = sync.entity("others")(load)
    other.entity("art")(load)
    async with sync, other, connect(sync) as client:
        body = [{"entity": entity, "id": "7"} for entity in ("art", "others")]
        await client.send({"action": "subscribe", "body": body})
        await settled(sync)
        before = sync.node.hub.loads.ticket
        with sessions.begin() as session:
            for wrong in ([1, 2], "07", None, True):
                with pytest.raises(BadId):
                    notify_after_commit(session, "art", wrong)
                with pytest.raises(BadId):
                    notify_after_commit(session, "art", 7, wrong)
            with pytest.raises(UnknownEntity, match="'arrt' is not registered"):
                notify_after_commit(session, "arrt", 7)
            with pytest.raises(TypeError, match="at least one id"):
                notify_after_commit(session, "art")
            with pytest.raises(ValueError, match="tag 'price' is a float"):
                notify_after_commit(session, "art", 7, tags={"price": 1.5})
        await settled(sync)
        assert sync.node.hub.loads.ticket == before
        with sessions.begin() as session:
            notify_after_commit(session, "art", 7)
            notify_after_commit(session, others, 7)
        await settled(sync)
        assert sync.node.hub.loads.ticket == before + 2
    assert caplog.text == ""


async def load(id: int) -> bool:
    return True
