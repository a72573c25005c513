"""What a flush finds out only by itself: values that the database makes, and those that a column sets."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ForeignKey, case, create_engine, event, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, sessionmaker

from entity_sync.capture.sqlalchemy import Watched, notify_on_commit
from tests.capture.told import Told

editor: ContextVar[str] = ContextVar("editor", default="ann")


class Base(DeclarativeBase):
    pass


class Page(Base):
    __tablename__ = "pages"
    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str]
    reads: Mapped[int] = mapped_column(default=0)
    notes: Mapped[list[Note]] = relationship()


class Note(Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    page_id: Mapped[int | None] = mapped_column(ForeignKey("pages.id"))
    topic: Mapped[str] = mapped_column(default="news")
    words: Mapped[str] = mapped_column(default="")
    editor: Mapped[str] = mapped_column(default=editor.get, onupdate=editor.get)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def sessions(tmp_path: Path):
    engine = create_engine(f"sqlite:///{tmp_path}/pages.db")
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add_all([Page(id=id, slug=f"page-{id}") for id in (1, 2)])
        session.add(Note(id=1, page_id=1))
    yield sessionmaker(engine)
    engine.dispose()


@pytest.mark.parametrize(
    "expression",
    [
        Page.reads + 1,
        case((Page.reads > 5, 0), else_=9),
        select(func.max(Page.id)).scalar_subquery(),
        text("reads + 1"),
    ],
)
@pytest.mark.parametrize("is_loaded", [True, False])
def test_an_expression(sessions: Any, told: Told, expression: Any, is_loaded: bool):
    """A value that the database makes is a change, whether or not the old one was read."""
    notify_on_commit(told, sessions, {Page: "pages"})
    with sessions.begin() as session:
        page = session.get(Page, 1)
        if not is_loaded:
            session.expire(page)
        page.reads = expression
    assert told.take() == [("pages", [1], None)]


def test_an_expression_that_a_later_hook_assigns(sessions: Any, told: Told):
    """The application's own events may change a row after ours have looked."""
    notify_on_commit(told, sessions, {Page: "pages", Note: "notes"})

    def count(session: Session, _context: object, _objects: object) -> None:
        for note in session.dirty:
            if isinstance(note, Note):
                session.get_one(Page, note.page_id).reads = Page.reads + 1

    event.listen(sessions, "before_flush", count)
    with sessions.begin() as session:
        session.get(Note, 1).words = "more"
    assert told.take() == [("notes", [1], None), ("pages", [1], None)]


def test_a_row_that_the_last_commit_expired(sessions: Any, told: Told):
    """Its tags are told as of any other: it is loaded once, for its key."""
    notify_on_commit(told, sessions, {Page: Watched("pages", tags=("slug",))})
    with sessions() as session:
        page = session.get(Page, 1)
        session.commit()
        page.reads = 7
        session.commit()
    assert told.take() == [("pages", [1], {"slug": ["page-1"]})]


def test_an_expression_for_a_tag(sessions: Any, told: Told):
    """Its new value is not known, so the tag is left open and matches all."""
    notify_on_commit(told, sessions, {Page: Watched("pages", tags=("slug",))})
    with sessions.begin() as session:
        session.get(Page, 1).slug = func.upper(Page.slug)
    assert told.take() == [("pages", [1], {})]


def test_an_expression_for_an_id(sessions: Any, told: Told, caplog: pytest.LogCaptureFixture):
    """The new id is asked for, and the old one is told if it was read; if not, the log says so."""
    notify_on_commit(told, sessions, {Page: Watched("slugs", id="slug")})
    notify_on_commit(told, sessions, {Page: "pages"})
    with sessions.begin() as session:
        session.get(Page, 1).slug = func.upper(Page.slug)
    assert told.take() == [("pages", [1], None), ("slugs", ["PAGE-1", "page-1"], None)]
    with sessions.begin() as session:
        session.get(Page, 1).id = Page.id + 10
    assert told.take() == [("pages", [11, 1], None), ("slugs", ["PAGE-1"], None)]
    assert caplog.text == ""
    with sessions.begin() as session:
        page = session.get(Page, 2)
        session.expire(page)
        page.reads = Page.reads + 1
    assert told.take() == [("pages", [2], None), ("slugs", ["page-2"], None)]
    assert caplog.text == ""
    with sessions.begin() as session:
        page = session.get(Page, 2)
        session.expire(page)
        page.slug = func.upper(Page.slug)
    assert told.take() == [("pages", [2], None), ("slugs", ["PAGE-2"], None)]
    assert "Page.slug was changed without being loaded" in caplog.text


@pytest.fixture
def bob(sessions: Any):  # after what there is
    token = editor.set("bob")
    yield
    editor.reset(token)


NOTES = Watched("notes", tags=("page_id", "topic", "editor"))


@pytest.mark.usefixtures("bob")
def test_a_tag_that_its_column_sets(sessions: Any, told: Told):
    """`onupdate=` sets it in the flush: the old value is told as well."""
    notify_on_commit(told, sessions, {Note: NOTES})
    with sessions.begin() as session:
        session.get(Note, 1).words = "more"
    tags = {"page_id": ["1"], "topic": ["news"], "editor": ["ann", "bob"]}
    assert told.take() == [("notes", [1], tags)]
    with sessions.begin() as session:
        session.delete(session.get(Note, 1))
    assert told.take() == [("notes", [1], tags | {"editor": ["bob"]})]


@pytest.mark.usefixtures("bob")
def test_a_tag_that_its_column_sets_in_a_row_that_the_flush_changes(sessions: Any, told: Told):
    """Nobody asked for its old value, so it is left open; what no column sets is told."""
    notify_on_commit(told, sessions, {Note: NOTES})
    with sessions.begin() as session:
        page = session.get(Page, 1)
        assert page.notes.pop()
    assert told.take() == [("notes", [1], {"page_id": ["1", "null"], "topic": ["news"]})]
