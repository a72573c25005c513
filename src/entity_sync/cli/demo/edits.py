"""What the page may change, who may, and what is notified then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec

from entity_sync.app import EntitySync
from entity_sync.cli.demo.entities import User
from entity_sync.cli.demo.shop import Shop
from entity_sync.model import ClientMessage

__all__ = ["Edits"]


class _Quantity(msgspec.Struct, tag_field="field", tag="quantity", forbid_unknown_fields=True):
    id: int
    value: int


class _Status(msgspec.Struct, tag_field="field", tag="status", forbid_unknown_fields=True):
    id: int
    value: str


class _Note(msgspec.Struct, tag_field="field", tag="note", forbid_unknown_fields=True):
    id: int
    value: str


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    customer: str
    item: str
    quantity: int


class _Name(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    name: str


class _Sale(msgspec.Struct, forbid_unknown_fields=True):
    id: int


class _Sharing(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    is_shared: bool


_Edit: TypeAlias = _Quantity | _Status | _Note


class Edits:
    """Carries out one change for each message: ``{"edit": …}`` and so on, see the table at the end."""

    def __init__(self, sync: EntitySync[User], shop: Shop) -> None:
        self._sync = sync
        self._shop = shop

    async def answer(self, message: ClientMessage) -> dict[str, Any]:
        """Whether it was done, and if not why."""
        try:
            wanted = msgspec.json.decode(message.data, type=dict[str, msgspec.Raw])
            if len(wanted) != 1 or not wanted.keys() <= _CHANGES.keys():
                raise ValueError(f"say one of {', '.join(_CHANGES)}")
            [(name, body)] = wanted.items()
            kind, change = _CHANGES[name]
            await change(self, msgspec.json.decode(body, type=kind), message.principal)
        except (msgspec.DecodeError, ValueError) as error:
            return {"ok": False, "text": str(error)}
        return {"ok": True}

    async def edit(self, wanted: _Edit, _user: User) -> None:
        """One field of an order; the lanes that it was in and is in are told apart by the tags."""
        if isinstance(wanted, _Quantity):
            statuses = await self._shop.set_quantity(wanted.id, wanted.value)
        elif isinstance(wanted, _Status):
            statuses = await self._shop.set_status(wanted.id, wanted.value)
        else:
            statuses = await self._shop.set_note(wanted.id, wanted.value)
        await self._sync.notify("orders", wanted.id, tags={"status": sorted(statuses)})

    async def add(self, wanted: _Order, _user: User) -> None:
        """A new order."""
        id = await self._shop.add_order(wanted.customer, wanted.item, wanted.quantity)
        await self._sync.notify("orders", id, tags={"status": "ordered"})

    async def rename(self, wanted: _Name, _user: User) -> None:
        """A user; the reports that hold this row are found by it."""
        await self._shop.rename_user(wanted.id, wanted.name)
        await self._sync.notify("users", wanted.id)

    async def sell(self, wanted: _Sale, user: User) -> None:
        """A piece of cake of the user's own branch."""
        await self._shop.sell_cake(wanted.id, user.branch)
        await self._sync.notify("cakes", wanted.id, tags={"branch": user.branch})

    async def share(self, wanted: _Sharing, user: User) -> None:
        """A recipe, by its owner; first of all nobody keeps what they may no longer see."""
        for login in await self._shop.share_recipe(wanted.id, user.key, is_shared=wanted.is_shared):
            await self._sync.reauthorize(login)
        await self._sync.notify("recipes", wanted.id)


_CHANGES: dict[str, tuple[Any, Callable[[Edits, Any, User], Awaitable[None]]]] = {
    "edit": (_Edit, Edits.edit),
    "add": (_Order, Edits.add),
    "rename": (_Name, Edits.rename),
    "sell": (_Sale, Edits.sell),
    "share": (_Sharing, Edits.share),
}
"""member of a message → what it has to be, and what carries it out."""
