"""What the bakery shows, and to whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any

from entity_sync.app import EntitySync
from entity_sync.cli.demo.schema import STATUSES
from entity_sync.cli.demo.shop import Shop
from entity_sync.errors import AccessDenied
from entity_sync.model import ConnectionInfo, EntityKey, Reads, Row, ViewInfo

__all__ = ["STORED", "User", "declare"]

STORED = ("orders", "board", "users", "reports", "shelf", "recipes")
"""The entities that are loaded from the file."""

_GUARDED = ("recipes",)  # have authorize=
_MAX_VIEWS = 200  # that the panel shows


@dataclass(frozen=True, slots=True)
class User:
    """Who a connection speaks for.

    Attributes:
        key: the login; empty for a guest.
        branch: whose shelf is theirs; empty for a guest.
    """

    key: str
    branch: str


_GUEST = User("", "")


def declare(sync: EntitySync[User], shop: Shop, about: dict[str, Any]) -> None:
    """Register everything but what the page may change.

    Args:
        about: what the page is told of this node.
    """

    @sync.authenticate
    async def who(secret: str | None, _connection: ConnectionInfo) -> User:
        if secret is None:
            return _GUEST
        # A demonstration's secrets, chosen in the page. Yours is a token that nobody guesses.
        login, _, branch = secret.partition("@")
        user = await shop.login(login)
        if user is None or user["branch"] != branch:
            raise AccessDenied
        return User(login, branch)

    @sync.entity("about", public=True)
    async def of_this_node(id: str) -> dict[str, Any] | None:
        return about if id == "demo" else None

    _orders(sync, shop)
    _reports(sync, shop)
    _branches(sync, shop)
    _views(sync)


def _orders(sync: EntitySync[User], shop: Shop) -> None:
    @sync.entity("orders", public=True)
    async def order(id: int) -> dict[str, Any] | None:
        return await shop.order(id)

    @sync.entity("board", public=True, rows=("orders", "id"))
    async def lane(status: str) -> AsyncIterator[Reads | dict[str, Any]]:
        if status not in STATUSES:
            raise AccessDenied  # as if it were not there
        yield Reads("orders", status=status)  # an order that comes, moves in or leaves is news
        for each in await shop.orders(status):
            yield each


def _reports(sync: EntitySync[User], shop: Shop) -> None:
    @sync.entity("users", public=True)
    async def user(id: int) -> dict[str, Any] | None:
        return await shop.user(id)

    @sync.entity("reports", public=True)
    async def report(id: int) -> AsyncIterator[Row | dict[str, Any]]:
        found = await shop.report(id)
        if found is None:
            raise AccessDenied
        yield found
        author = found["author_id"]
        yield Row("users", author, await shop.user(author))  # rides along: its change is this report's


def _branches(sync: EntitySync[User], shop: Shop) -> None:
    @sync.entity("shelf", per=lambda user: user.branch, rows=("cakes", "id"))
    async def shelf(id: str, branch: str) -> AsyncIterator[Reads | dict[str, Any]]:
        if id != "today":
            raise AccessDenied
        yield Reads("cakes", branch=branch)
        for each in await shop.cakes(branch):
            yield each

    async def may_read(user: User, key: EntityKey) -> bool:
        return await shop.may_read(user.key, int(key.id))

    @sync.entity("recipes", authorize=may_read)
    async def recipe(id: int) -> dict[str, Any] | None:
        return await shop.recipe(id)


def _views(sync: EntitySync[User]) -> None:
    # Yours would be for operators alone: authorize=lambda user, key: user.is_operator.
    @sync.entity("views", public=True, refresh_every=1.0)
    async def views(id: str) -> AsyncIterator[Row | dict[str, Any]]:
        if id != "here":
            raise AccessDenied
        # Without itself: being shown would change what it shows, once a second for ever.
        found = [info for info in sync.watched() if info.entity != "views"]
        yield {"views": len(found), "subscribers": sum(info.subscribers for info in found)}
        for info in found[:_MAX_VIEWS]:
            members = asdict(info) | {"audience": _for_people(info)}
            yield Row("views", str(info.number), members, track=False)


def _for_people(info: ViewInfo) -> str:
    if info.entity in _GUARDED:
        return "those allowed"  # one load serves them all, and each is asked about
    return info.audience.strip("'") or "guests"  # a branch, as Python spells it
