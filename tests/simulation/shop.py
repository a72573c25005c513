"""The application of a world: a database with replicas, its entities, who may see what, and its faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from random import Random
from typing import Any, TypeVar

from entity_sync.errors import AccessDenied
from entity_sync.loading.catalog import Catalog
from entity_sync.loading.loader import Loader
from entity_sync.model import EntityKey, Reads, Row

_T = TypeVar("_T")
_LONG = "x" * 300  # so that differences are worth sending
_LAG = 1.5  # seconds a replica is behind at most: less than the node is told

POISON = "poison"
"""An id that no batch can load."""


class Shop:
    """Rows that commits change, as every loader of the application reads them.

    Attributes:
        rows: the newest state of each id, None where it was deleted; 0 where nothing was committed.
        down: entities whose database does not answer.
        loads: calls of each entity's loader.
        serial: of the last commit.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.rows: dict[str, int | None] = {}
        self.kinds: dict[str, str] = {}
        self.ids: list[str] = []
        self.forbidden: set[tuple[str, str]] = set()
        self.revoked: set[str] = set()
        self.down: set[str] = set()
        self.faults_until = 0.0
        self._up_since = 0.0
        self.loads: dict[str, int] = {}
        self.serial = 0
        self._history: dict[str, list[tuple[float, int | None]]] = {}
        self.catalog = Catalog()
        for loader in self._loaders():
            self.catalog.add(loader)

    def _loaders(self) -> list[Loader]:
        public: dict[str, Any] = {"per": None, "public": True, "timeout": 2.0}
        private = public | {"public": False}
        return [
            Loader.of("items", self._item, **public),
            Loader.of("own", self._own, **private),
            Loader.of("reports", self._report, **public),
            Loader.of("lists", self._list, **public),
            Loader.of("paced", self._paced, min_interval=1.0, **public),
            Loader.of("copies", self._copy, revision="n", **public),
            Loader.of("guarded", self._guarded, authorize=self._may_see, batch=3, **private),
        ]

    # The database

    def commit(self, id: str, kind: str) -> tuple[int, int | None]:
        """Change a row, or delete it; returns the number of the commit and the row's new state."""
        self.serial += 1
        self.kinds[id] = kind
        self.rows[id] = None if self.random.random() < 0.1 else self.serial
        now = asyncio.get_running_loop().time()
        self._history.setdefault(id, []).append((now, self.rows[id]))
        return self.serial, self.rows[id]

    def items_of(self, kind: str) -> dict[str, int]:
        """The items of a kind and their states, as the database has them now."""
        states = {id: self.rows.get(id, 0) for id in self.ids if self.kinds.get(id, "x") == kind}
        return {id: n for id, n in states.items() if n is not None}

    def newest(self, entity: str, id: str) -> dict[str, int]:
        """What a client that watches this shows in the end."""
        if entity == "lists":
            return self.items_of(id)
        n = self.rows.get(id, 0)
        return {} if n is None else {id: n}

    async def go_down(self, entity: str, seconds: float) -> None:
        """No load of this entity succeeds for a while."""
        self.down.add(entity)
        await asyncio.sleep(seconds)
        self.down.clear()
        self._up_since = asyncio.get_running_loop().time()

    @property
    def well_since(self) -> float:
        """The moment after which every load succeeds, as far as is known."""
        return inf if self.down else max(self._up_since, self.faults_until)

    def _replica(self, id: str) -> int | None:
        """A row as some replica has it now."""
        lag = self.random.choice((0.0, self.random.uniform(0, _LAG), _LAG))  # not all are equally behind
        now = asyncio.get_running_loop().time() - lag
        known = [n for at, n in self._history.get(id, ()) if at <= now]
        return known[-1] if known else 0

    # Its entities

    async def _item(self, id: str) -> Any:
        return await self._row("items", id)

    async def _own(self, id: str, audience: str) -> Any:
        return await self._row("own", id, audience)

    async def _paced(self, id: str) -> Any:
        return await self._row("paced", id)

    async def _copy(self, id: str) -> Any:
        """Read from a replica."""
        n = await self._slowly("copies", lambda: self._replica(id))
        return None if n is None else {"n": n, "text": _LONG}

    async def _report(self, id: str) -> list[object]:
        """A row that never changes, with an item that rides along."""
        item = await self._row("reports", id)
        # Of a row that is not there nothing rides along: what would notice that it comes is the live query.
        return [{"text": _LONG}, Reads("items") if item is None else Row("items", id, item)]

    async def _list(self, kind: str) -> list[object]:
        """A live query: the items of a kind, which only the query itself depends on."""
        items = await self._slowly("lists", lambda: self.items_of(kind))
        rows = [Row("items", id, {"n": n, "text": _LONG}, track=False) for id, n in items.items()]
        return [Reads("items", kind=kind), *rows]

    async def _guarded(self, ids: list[str]) -> dict[str, object]:
        """Several at once: what is missing is gone, and one of them spoils what is asked for with it."""
        found = await self._slowly("guarded", lambda: {id: self.rows.get(id, 0) for id in ids})
        if POISON in ids:
            raise OSError("simulated: one of these cannot be read")
        return {id: {"n": n, "text": _LONG} for id, n in found.items() if n is not None}

    async def _row(self, entity: str, id: str, audience: str = "") -> dict[str, object] | None:
        n = await self._slowly(entity, lambda: self.rows.get(id, 0))
        return None if n is None else {"entity": entity, "id": id, "n": n, "for": audience, "text": _LONG}

    async def _slowly(self, entity: str, read: Callable[[], _T]) -> _T:
        """Read the database at one moment of a load that takes a while, and may fail."""
        random = self.random
        self.loads[entity] = self.loads.get(entity, 0) + 1
        await asyncio.sleep(random.uniform(0, random.choice((0.02, 0.3))))
        if entity in self.down:
            raise OSError("simulated: the database is down")
        found = read()
        fault = random.random() if asyncio.get_running_loop().time() < self.faults_until else 1.0
        if fault < 0.08:
            raise OSError("simulated")
        if fault < 0.12:
            await asyncio.Event().wait()
        await asyncio.sleep(random.uniform(0, random.choice((0.02, 0.3, 1.5, 1.5))))
        return found

    # Who may

    async def authenticate(self, secret: str | None, _connection: object) -> str:
        """Everybody but those who are revoked, and the bad."""
        is_out = secret == "bad" or (secret or "") in self.revoked
        await asyncio.sleep(self.random.choice((0.0, 0.2)))
        if is_out:
            raise AccessDenied
        return secret or ""

    async def _may_see(self, who: str, key: EntityKey) -> bool:
        may = self.may_see(who, *key)
        await asyncio.sleep(self.random.choice((0.0, 0.0, 0.2)))
        return may

    def may_see(self, who: str, entity: str, id: str) -> bool:
        """Whether somebody may see a key now, if they are anybody."""
        return entity != "guarded" or (who, id) not in self.forbidden
