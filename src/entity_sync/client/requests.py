"""What is to be asked about keys and views: pure, the newest request about each replaces the one waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import NamedTuple

import msgspec

from entity_sync.errors import BadId
from entity_sync.model import EntityKey

__all__ = ["Requests", "check", "element"]

_encode = msgspec.json.encode
_MAX_ELEMENT = 4_096
_ENVELOPE = 96  # bytes of a frame around its list of keys, and some
_MOST = 100  # keys in a frame: of so many a server says of each what is wrong with it


class Requests:
    """Subscribes, unsubscribes and resyncs that wait to be sent.

    There is one place for each key and each view, so what waits is bounded by what is watched,
    however slow the connection.
    """

    def __init__(self, *, causes: bool = False) -> None:
        """
        Args:
            causes: ask to be told which notifies a state covers.
        """
        self._causes = causes
        self._keys: dict[EntityKey, bool] = {}
        self._views: dict[int, int] = {}
        self._refs = count(1)
        self._asked: dict[str, tuple[EntityKey, ...]] = {}
        self._newest: dict[EntityKey, str] = {}  # the ref that asked for this key last

    def subscribe(self, key: EntityKey) -> None:
        """Ask for this key's state, and for every later one."""
        self._keys[key] = True

    def unsubscribe(self, key: EntityKey) -> None:
        """Ask for it no longer."""
        self._keys[key] = False

    def resync(self, view: int, rev: int) -> None:
        """Ask for this view's rows whole."""
        self._views[view] = rev

    def start_over(self, keys: Iterable[EntityKey]) -> None:
        """A new connection knows nothing: ask for these keys, and for nothing the old one was asked."""
        self._asked.clear()
        self._newest.clear()
        self._views.clear()
        self._keys = dict.fromkeys(keys, True)

    def answered(self, ref: str | int | None) -> tuple[EntityKey, ...]:
        """The keys of the subscribe that was sent with this ref, but for those asked for again since."""
        keys = self._asked.pop(ref, ()) if isinstance(ref, str) else ()
        newest = [key for key in keys if self._newest.get(key) == ref]
        for key in newest:
            del self._newest[key]
        return tuple(key for key in newest if key not in self._keys)

    def take(self, limit: int, version: Callable[[EntityKey], str | None]) -> list[bytes]:
        """The frames to send now; what they ask waits no longer.

        Args:
            limit: bytes a frame may have.
            version: of the copy held of a key.
        """
        keys, self._keys = self._keys, {}
        views, self._views = self._views, {}
        unwanted = [_Element(key, element(key)) for key, is_wanted in keys.items() if not is_wanted]
        chunks = _chunks(unwanted, limit)
        frames = [b'{"action":"unsubscribe","body":[%b]}' % _joined(chunk) for chunk in chunks]
        wanted = [
            _Element(key, element(key, version(key), causes=self._causes))
            for key, is_wanted in keys.items()
            if is_wanted
        ]
        for chunk in _chunks(wanted, limit):
            ref = f"k{next(self._refs)}"
            self._asked[ref] = tuple(each.key for each in chunk)
            self._newest.update(dict.fromkeys(self._asked[ref], ref))
            frames.append(b'{"action":"subscribe","ref":%b,"body":[%b]}' % (_encode(ref), _joined(chunk)))
        for view, rev in views.items():
            frames.append(_encode({"action": "resync", "body": {"view": view, "rev": rev}}))
        return frames


def element(key: EntityKey, version: str | None = None, *, causes: bool = False) -> bytes:
    """A key as an element of a subscribe or unsubscribe."""
    named: dict[str, object] = {"entity": key.entity, "id": key.id}
    if version is not None:
        named["version"] = version
    if causes:
        named["causes"] = True
    return _encode(named)


def check(key: EntityKey) -> None:
    """Look whether a server could read it.

    Raises:
        BadId: none could.
    """
    try:
        size = len(element(key))
    except UnicodeEncodeError:
        raise BadId(key.entity, "it holds half a character, which is no text") from None
    if size > _MAX_ELEMENT:
        raise BadId(key.entity[:64], f"{size} bytes, and no id is longer than 256")


class _Element(NamedTuple):
    key: EntityKey
    json: bytes


def _joined(chunk: list[_Element]) -> bytes:
    return b",".join(each.json for each in chunk)


def _chunks(elements: list[_Element], limit: int) -> Iterator[list[_Element]]:
    chunk: list[_Element] = []
    size = _ENVELOPE
    for each in elements:
        if chunk and (len(chunk) == _MOST or size + len(each.json) + 1 > limit):
            yield chunk
            chunk, size = [], _ENVELOPE
        chunk.append(each)
        size += len(each.json) + 1
    if chunk:
        yield chunk
