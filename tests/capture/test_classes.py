"""How the rows of a class are said to be named: by name, by handle, in one way or in several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ForeignKey, create_engine, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker

from entity_sync import ConfigurationError, EntitySync
from entity_sync.capture.sqlalchemy import Watched, notify_on_commit
from tests.capture.told import Told


class Base(DeclarativeBase):
    pass


class Ticket(Base):
    __tablename__ = "tickets"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str] = mapped_column(default="ann")


class Comment(Base):
    __tablename__ = "comments"
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = mapped_column(ForeignKey("tickets.id"))
    ticket: Mapped[Ticket] = relationship()

    @property
    def customer(self) -> str:
        return f"{self.ticket.customer}-{self.id}"


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def sessions(tmp_path: Path):
    engine = create_engine(f"sqlite:///{tmp_path}/tickets.db")
    Base.metadata.create_all(engine)
    yield sessionmaker(engine)
    engine.dispose()


async def load(id: int) -> None: ...


def test_handles(sessions: Any, told: Told):
    """What registering gave will do wherever the name does."""
    sync = EntitySync()
    comment = sync.entity("comments")(load)
    notify_on_commit(told, sessions, {Comment: comment, Ticket: Watched(comment, "customer", ("id",))})
    with sessions.begin() as session:
        session.add_all([Ticket(id=1), Comment(id=2, ticket_id=1)])
    assert told.take() == [("comments", ["ann"], {"id": ["1"]}), ("comments", [2], None)]


async def test_a_handle_of_another_application(sessions: Any):
    """Its name is unknown here, and refused at the start, as any other; also in a list."""
    sync = EntitySync("memory://")
    notify_on_commit(sync, sessions, {Comment: ["comments", EntitySync().entity("tickets")(load)]})
    sync.entity("comments")(load)
    with pytest.raises(ConfigurationError, match="'tickets' would be notified"):
        async with sync:
            pass


@pytest.mark.parametrize("several", [list, tuple])
def test_several(sessions: Any, told: Told, several: Any):
    """A row that is part of two entities is told as both: new, moved, deleted; each with its old ids."""
    ways = ["comments", Watched("tickets", id="ticket_id", tags=("ticket_id",))]
    notify_on_commit(told, sessions, {Comment: several(ways)})
    with sessions.begin() as session:
        session.add(Comment(id=7, ticket_id=1))
    assert told.take() == [("comments", [7], None), ("tickets", [1], {"ticket_id": ["1"]})]
    with sessions.begin() as session:
        session.get(Comment, 7).ticket_id = 2
    assert told.take() == [("comments", [7], None), ("tickets", [2, 1], {"ticket_id": ["1", "2"]})]
    with sessions.begin() as session:
        session.delete(session.get(Comment, 7))
    assert told.take() == [("comments", [7], None), ("tickets", [2], {"ticket_id": ["2"]})]


def test_a_statement_of_several(sessions: Any, told: Told, caplog: pytest.LogCaptureFixture):
    """It is warned of once, with all that they are part of."""
    notify_on_commit(told, sessions, {Comment: ["comments", Watched("tickets", id="ticket_id")]})
    with sessions.begin() as session:
        session.execute(update(Comment).values(ticket_id=2))
    (record,) = caplog.records
    assert "notified none of comments, tickets; say them by" in record.getMessage()


@pytest.mark.parametrize(
    ("how", "error"),
    [
        (7, r"Comment: an entity's name or handle, Watched\(...\), or a list of them, not 7"),
        (["comments", None], "or a list of them, not None"),
        ([], "Comment: of which entity are its rows"),
        (["comments", Watched("tickets", id="nope")], "Comment has no 'nope'"),
    ],
)
def test_what_says_nothing(sessions: Any, told: Told, how: Any, error: str):
    """It is refused at once, and by name."""
    with pytest.raises(ConfigurationError, match=error):
        notify_on_commit(told, sessions, {Comment: how})


@pytest.mark.parametrize("way", [lambda comment: comment.customer, "customer"])
def test_an_id_by_a_relationship_that_is_not_set(
    sessions: Any, told: Told, caplog: pytest.LogCaptureFixture, way: Any
):
    """The log says why it is not known of a new object, and what to do; as it says, it is known then."""
    notify_on_commit(told, sessions, {Comment: Watched("comments", id=way)})
    with sessions.begin() as session:
        session.add(Ticket(id=1))
        session.add(Comment(id=2, ticket_id=1))
    assert told.take() == []
    (record,) = caplog.records
    asked = "id=" if callable(way) else "id='customer'"
    assert record.getMessage() == (
        f"a change of Comment will not be told: its id is not known, since {asked} of Watched('comments') "
        "raised AttributeError: 'NoneType' object has no attribute 'customer'; it is asked as the session "
        "flushes, and ticket of this new object was not set, so it is None then, and not loaded. Set it "
        "where the object is made, make the id of columns alone, or say the key by "
        "notify_after_commit(session, 'comments', ...)"
    )
    with sessions.begin() as session:
        session.add(Comment(id=3, ticket=session.get(Ticket, 1)))
    assert told.take() == [("comments", ["ann-3"], None)]
