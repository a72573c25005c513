"""Rows that the database deletes or changes by itself: nobody can tell of them, so the log says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ForeignKey, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, sessionmaker

from entity_sync.capture.sqlalchemy import Watched, notify_on_commit
from tests.capture.told import Told


class Base(DeclarativeBase):
    pass


class Shop(Base):
    __tablename__ = "shops"
    id: Mapped[int] = mapped_column(primary_key=True)
    orders: Mapped[list[Order]] = relationship(cascade="all, delete-orphan", passive_deletes=True)
    clerks: Mapped[list[Clerk]] = relationship(cascade="all, delete-orphan")
    bells: Mapped[list[Bell]] = relationship(passive_deletes="all")


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id", ondelete="CASCADE"))
    stamps: Mapped[list[Stamp]] = relationship(cascade="all, delete-orphan")


class Parcel(Base):
    __tablename__ = "parcels"
    tags: Mapped[list[Tag]] = relationship(cascade="all, delete-orphan")
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int | None] = mapped_column(ForeignKey("orders.id", ondelete="set null"))


class Stamp(Base):
    """Loaded and deleted by the session with its order, but not where the database deletes that."""

    __tablename__ = "stamps"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"))


class Seal(Base):
    """Nor where it is two steps away, and the steps a circle."""

    __tablename__ = "seals"
    id: Mapped[int] = mapped_column(primary_key=True)
    stamp_id: Mapped[int] = mapped_column(ForeignKey("stamps.id", ondelete="CASCADE"))
    over_id: Mapped[int | None] = mapped_column(ForeignKey("seals.id", ondelete="CASCADE"))
    under: Mapped[list[Seal]] = relationship(cascade="all")


class Tag(Base):
    """What it belongs to is not deleted when the database changes that."""

    __tablename__ = "tags"
    id: Mapped[int] = mapped_column(primary_key=True)
    parcel_id: Mapped[int] = mapped_column(ForeignKey("parcels.id", ondelete="CASCADE"))


class Clerk(Base):
    """Loaded and deleted by the session, whatever the database would do."""

    __tablename__ = "clerks"
    id: Mapped[int] = mapped_column(primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id", ondelete="CASCADE"))


class Chief(Clerk):
    """In a table of its own, which goes with that of the class it inherits from."""

    __tablename__ = "chiefs"
    id: Mapped[int] = mapped_column(ForeignKey("clerks.id", ondelete="CASCADE"), primary_key=True)


class Bell(Base):
    """By a key that only the database itself says more of."""

    __tablename__ = "bells"
    id: Mapped[int] = mapped_column(primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))


class Sign(Base):
    """Nothing happens to it: a shop that has one cannot be deleted."""

    __tablename__ = "signs"
    id: Mapped[int] = mapped_column(primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))


WATCHED: dict[type, str | Watched] = {
    Order: "orders",
    Parcel: Watched("parcels"),
    Clerk: "clerks",
    Chief: "chiefs",
    Bell: "bells",
    Sign: "signs",
}


@pytest.fixture
def sessions(tmp_path: Path):
    engine = create_engine(f"sqlite:///{tmp_path}/shops.db")
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add(Shop(id=1))
    yield sessionmaker(engine)
    engine.dispose()


def test_each_is_warned_of_once(sessions: Any, caplog: pytest.LogCaptureFixture):
    """At the first flush: what the session leaves to the database, and what it does not know of."""
    notify_on_commit(Told(), sessions, WATCHED)
    for id in (2, 3):
        with sessions.begin() as session:
            session.add(Shop(id=id))
    by_hand = "and they are not notified: {}, or say their keys by notify_after_commit(session, '{}', ...)"
    left = (
        "Shop.{} has passive_deletes: with the Shop the database deletes or changes {} that are not loaded, "
    )
    leave_out = "leave passive_deletes out"
    assert sorted(record.getMessage() for record in caplog.records) == sorted(
        [
            left.format("orders", "rows of Order") + by_hand.format(leave_out, "orders"),
            left.format("bells", "rows of Bell") + by_hand.format(leave_out, "bells"),
            "Parcel.order_id has ondelete: with the Order the database deletes or changes rows of Parcel, "
            + by_hand.format("give Order a relationship to Parcel", "parcels"),
            "Shop.orders has passive_deletes: with the Shop the database deletes or changes rows of Parcel "
            "(Shop → Order → Parcel), " + by_hand.format(leave_out, "parcels"),
        ]
    )


def test_what_is_deleted_with_what_is_deleted(sessions: Any, caplog: pytest.LogCaptureFixture):
    """The session would delete stamps with their order; the database deletes them with the shop of that, and
    although neither shops nor orders are watched it is said, with the way and the link to change."""
    told = Told()
    notify_on_commit(told, sessions, {Stamp: "stamps", Seal: "seals", Tag: "tags"})
    with sessions.begin() as session:
        session.connection().exec_driver_sql("PRAGMA foreign_keys=ON")
        session.add(Order(id=1, shop_id=1, stamps=[Stamp(id=1)]))
    assert told.take() == [("stamps", [1], None)]
    by_hand = "and they are not notified: {}, or say their keys by notify_after_commit(session, '{}', ...)"
    left = "Shop.orders has passive_deletes: with the Shop the database deletes or changes rows of {}, "
    leave_out = "leave passive_deletes out"
    assert [record.getMessage() for record in caplog.records] == [
        left.format("Stamp (Shop → Order → Stamp)") + by_hand.format(leave_out, "stamps"),
        "Seal.stamp_id has ondelete: with the Stamp the database deletes or changes rows of Seal, "
        + by_hand.format("give Stamp a relationship to Seal", "seals"),
        left.format("Seal (Shop → Order → Stamp → Seal)") + by_hand.format(leave_out, "seals"),
    ]
    with sessions.begin() as session:
        session.connection().exec_driver_sql("PRAGMA foreign_keys=ON")
        session.delete(session.get(Shop, 1))
    with sessions() as session:
        assert session.get(Stamp, 1) is None
    assert told.take() == []


def test_what_the_session_deletes_itself(sessions: Any, caplog: pytest.LogCaptureFixture):
    """Without passive_deletes the session loads and deletes the rows: they are told, without a warning."""
    told = Told()
    notify_on_commit(told, sessions, {Clerk: "clerks", Chief: "clerks"})
    with sessions.begin() as session:
        session.add_all([Clerk(id=1, shop_id=1), Chief(id=2, shop_id=1)])
    told.take()
    with sessions.begin() as session:
        session.delete(session.get(Shop, 1))
    ((entity, ids, _),) = told.take()
    assert (entity, sorted(ids)) == ("clerks", [1, 2])
    assert caplog.text == ""
