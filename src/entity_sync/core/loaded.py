"""What a load found: rows, what they were read from, and their version."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Raw, Struct

from entity_sync.core.canonical import GONE_VERSION, version_of
from entity_sync.core.tags import Reading
from entity_sync.core.wirerows import WireRow
from entity_sync.errors import LoadFailed
from entity_sync.model import EntityKey

__all__ = ["DENIED", "NO_KEYS", "Loaded", "LoadedRow", "Unusable"]

NO_KEYS: frozenset[EntityKey] = frozenset()
"""One object for all that have none."""

_AROUND_ROW = 200  # bytes of the objects of a row and its key, about
_AROUND_DATA = len(b'{"data":},')
_AROUND_KEY = len(b'"entity":"","id":"",')


class LoadedRow(Struct, frozen=True, gc=False):
    """One row as a load returned it; a view may have thousands, which the garbage collector need not visit.

    Attributes:
        data: canonical JSON.
        verbatim: the JSON exactly as the application wrote it, for the classic wire.
        key: its own key; None where it is the view's.
        is_tracked: whether a change of its key concerns the view.
    """

    data: bytes
    verbatim: bytes
    key: EntityKey | None = None
    is_tracked: bool = True

    @property
    def size(self) -> int:
        """Bytes that it has in a snapshot, but for characters of its id that JSON escapes."""
        size = len(self.data) + _AROUND_DATA
        if self.key is not None:
            size += _AROUND_KEY + sum(len(name.encode("utf-8", "replace")) for name in self.key)
        return size

    @property
    def wire(self) -> WireRow:
        """As it stands in a snapshot."""
        data = Raw(self.data)
        return WireRow(data) if self.key is None else WireRow(data, self.key.entity, self.key.id)


class Loaded(Struct, eq=False, gc=False):
    """The result of one load; ``gone`` means the key does not exist, which no rows alone do not.

    Nothing of it changes: what is derived from it is worked out when it is asked for first. The garbage
    collector need not visit any.

    Attributes:
        rows: in order; no two have equal keys.
        gone: there is no such key.
        reads: the live queries that were made for it.
        revision: the application's own number of the view's row, None where it has none.
        absent: keys of which it was found that they have no row, and whose changes concern the view.
        denied: gone for whoever asks, who is told of it what is told of a key that nobody ever notified.
        counted: the bytes of all rows where somebody has counted them, with their keys.
    """

    rows: tuple[LoadedRow, ...]
    gone: bool = False
    reads: tuple[Reading, ...] = ()
    revision: int | None = None
    absent: frozenset[EntityKey] = NO_KEYS
    denied: bool = False
    counted: int | None = None
    _version: str | None = None
    _held: int | None = None
    _dependencies: frozenset[EntityKey] | None = None

    @property
    def version(self) -> str:
        """The content hash of rows, keys and order, equal on every node for equal rows."""
        if self._version is None:
            self._version = GONE_VERSION if self.gone else version_of(self._parts())
        return self._version

    def work_out_version(self) -> None:
        """Work the version out now and not when it is asked for."""
        _ = self.version

    @property
    def size(self) -> int:
        """Bytes of all rows, with their keys; every subscription that is sent a difference asks for it."""
        if self.counted is None:
            self.counted = sum(row.size for row in self.rows)
        return self.counted

    @property
    def held(self) -> int:
        """Bytes of memory of all rows; what the application wrote counts where it is another object."""
        if self._held is None:
            own = sum(len(row.verbatim) for row in self.rows if row.verbatim is not row.data)
            self._held = self.size + own + _AROUND_ROW * len(self.rows)
        return self._held

    @property
    def dependencies(self) -> frozenset[EntityKey]:
        """The keys besides the view's own whose changes concern it."""
        if self._dependencies is None:
            found = (row.key for row in self.rows if row.key is not None and row.is_tracked)
            self._dependencies = self.absent.union(found) or NO_KEYS
        return self._dependencies

    def share(self, keys: frozenset[EntityKey]) -> None:
        """Keep this object for its dependencies, which are equal."""
        self._dependencies = keys

    def _parts(self) -> Iterator[bytes]:
        for row in self.rows:
            key = row.key
            yield from (b"", b"") if key is None else (key.entity.encode(), key.id.encode())
            yield row.data


DENIED = Loaded((), gone=True, denied=True)


class Unusable(LoadFailed):
    """A load came to an end, and what it gave cannot be shown.

    Attributes:
        found: what it read up to there, which is all that its outcome depends on; the rows need no data.
    """

    def __init__(self, text: str, found: Loaded, *, code: str) -> None:
        super().__init__(text, code=code)
        self.found = found
