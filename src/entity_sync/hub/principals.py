"""Which connections speak for whom, so that what is said of a principal reaches them."""

from __future__ import annotations

from typing import Protocol

from entity_sync.core.rights import Verdict, named

__all__ = ["Holder", "Principals"]


class Holder(Protocol):
    """A connection, as far as its principal concerns it."""

    def end(self) -> None:
        """Its principal is nobody any more."""
        ...

    def doubt(self) -> None:
        """Whether its principal is still somebody has to be asked afresh."""
        ...

    def reauthorize(self) -> None:
        """What its principal may see has to be asked afresh."""
        ...


class Principals:
    """The connections of each principal, and those that are being asked who they are.

    The answer to a question that was asked before somebody was revoked may still name them, so it is
    taken only if nothing was said of them meanwhile.
    """

    def __init__(self) -> None:
        self._holders: dict[str, dict[Holder, None]] = {}
        self._names: dict[Holder, str] = {}
        self._asked: dict[Holder, set[str] | None] = {}  # who was revoked since; None: anybody may have been

    def ask(self, holder: Holder) -> None:
        """The application is being asked who this connection is; until then it is nobody."""
        self.leave(holder)
        self._asked[holder] = set()

    def enter(self, holder: Holder, key: str) -> bool:
        """The answer came: it is the principal with this key.

        Returns:
            whether it counts; if not, ask again.
        """
        name = named(key)
        revoked = self._asked.pop(holder, set[str]())
        if revoked is None or name in revoked:
            return False
        self._names[holder] = name
        self._holders.setdefault(name, {})[holder] = None
        return True

    def leave(self, holder: Holder) -> None:
        """The connection speaks for nobody."""
        self._asked.pop(holder, None)
        name = self._names.pop(holder, None)
        if name is not None:
            holders = self._holders[name]
            del holders[holder]
            if not holders:
                del self._holders[name]

    def tell(self, name: str, verdict: Verdict) -> None:
        """This was said of the principal with this name."""
        holders = list(self._holders.get(name, ()))
        if verdict is Verdict.REAUTHORIZE:
            for holder in holders:
                holder.reauthorize()
            return
        for revoked in self._asked.values():
            if revoked is not None:
                revoked.add(name)
        for holder in holders:
            self.leave(holder)
            holder.end()

    def doubt(self) -> None:
        """Anything may have been said of anybody."""
        for holder in self._asked:
            self._asked[holder] = None
        for holder in list(self._names):
            holder.doubt()
