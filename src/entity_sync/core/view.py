"""One (key, audience) that somebody on this node watches."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from math import inf

import msgspec

from entity_sync.core import v2
from entity_sync.core.fence import Fence
from entity_sync.core.frame import Frame
from entity_sync.core.history import History
from entity_sync.core.loaded import NO_KEYS, Loaded
from entity_sync.core.loadstate import Cause, LoadAction, LoadEvent, LoadState, step
from entity_sync.core.memory import Memory
from entity_sync.core.messages import Current, Fresh, Snapshot
from entity_sync.core.outbox import Mark
from entity_sync.core.receipts import Receipts
from entity_sync.core.tags import Reading
from entity_sync.core.trouble import Trouble
from entity_sync.model import Audience, EntityKey

__all__ = ["View"]

_NO_CAUSE = Cause(0)
_AROUND_KEY = 200  # bytes of what makes a view depend on one key, or on one value of a tag, about


class View:
    """The newest known state of one (key, audience), and its encoded frames.

    Attributes:
        key, audience: what it is of, and for whom.
        number: names the view on the wire, random so that it tells nothing.
        state: where its loading stands.
        causes, running_causes: what asks for the next attempt, or asked for one that was given up, and what
            asked for the one that runs.
        triggered_at: seconds of the clock as the first of them came.
        loaded: the newest result, None before the first, and where its rows are not kept.
        version: that of the newest result, None before the first.
        is_denied: that result is denied (`Loaded.denied`).
        ticket: which load of this node gave it; a later load has a larger one.
        begun: the ticket of the attempt that began last.
        moment, began: of `Recent`, and of the clock in seconds, as the last attempt began.
        as_of: seconds of the clock as the attempt began that gave ``loaded``.
        rev: counts the results that differed, for v2.
        push: counts the results that classic sessions get, equal or not.
        asked: counts what asked for loads, besides looking whether anything changed.
        attempts: failed tries since the last result.
        failure: what v2 sessions are told while its loads fail, None while they do not.
        reasons: why its loads failed since one succeeded, as far as it was noted.
        rows, reads: what besides its key it depends on; the index keeps them.
        subscriptions: who watches.
        fence: which revisions may be shown; None where there are none.
        receipts: which notifies the state covers; None while nobody asks for that.
    """

    __slots__ = (
        "_classic", "_current", "_history", "_memory", "_snapshot", "as_of", "asked", "attempts", "audience",
        "began", "begun", "causes", "failure", "fence", "is_denied", "key", "loaded", "moment", "number",
        "push", "reads", "reasons", "receipts", "rev", "rows", "running_causes", "state", "subscriptions",
        "ticket", "triggered_at", "version",
    )  # fmt: skip

    def __init__(
        self, key: EntityKey, audience: Audience, number: int, memory: Memory[View] | None = None
    ) -> None:
        """
        Args:
            memory: what bounds the bytes it holds, together with others.
        """
        self._memory = memory
        self.key = key
        self.audience = audience
        self.number = number
        self.subscriptions: dict[Mark, None] = {}
        self.state = LoadState.IDLE
        self.causes = _NO_CAUSE
        self.running_causes = _NO_CAUSE
        self.begun = 0
        self.moment = 0
        self.began = -inf
        self.as_of = -inf
        self.asked = 0
        self.attempts = 0
        self.triggered_at = 0.0
        self.loaded: Loaded | None = None
        self.version: str | None = None
        self.is_denied = False
        self.ticket = 0
        self.rev = 0
        self.push = 0
        self.fence: Fence | None = None
        self.receipts: Receipts | None = None
        self.rows = NO_KEYS
        self.reads: tuple[Reading, ...] = ()
        self._history = History(number)
        self._snapshot: Frame | None = None
        self._current: Frame | None = None
        self._classic: tuple[Frame, ...] | None = None
        self.failure: Trouble | None = None
        self.reasons: tuple[Hashable, ...] = ()

    # Loading

    def trigger(self, cause: Cause, now: float) -> LoadAction:
        """Something asks for a load that begins after this moment."""
        if not self.causes and not self.running_causes:
            self.triggered_at = now
        self.causes |= cause
        self.asked += cause is not Cause.REREAD
        return self._step(LoadEvent.TRIGGERED)

    def start(self, ticket: int, now: float) -> None:
        """An attempt begins now: whatever asked for it so far is covered by it."""
        self._step(LoadEvent.STARTED)
        if self.receipts is not None:
            self.receipts.started(now)
        self.begun = ticket
        self.began = now
        self.running_causes, self.causes = self.causes, _NO_CAUSE

    def postpone(self) -> None:
        """The attempt gave nothing and another one follows later."""
        self.attempts += 1
        self.causes |= self.running_causes
        self.running_causes = _NO_CAUSE
        self._step(LoadEvent.POSTPONED)
        if self.receipts is not None:
            self.receipts.postponed()

    def succeed(self, loaded: Loaded) -> tuple[bool, LoadAction]:
        """Take an attempt's result.

        Returns:
            whether any session is to be told, and what to do about loading.
        """
        first, differs = self.version is None, loaded.version != self.version
        asked = self.running_causes
        pushed = Cause.NOTIFY in asked or (differs and not (first and asked == Cause.SUBSCRIBE))
        if differs or loaded.rows != (self.loaded.rows if self.loaded else ()):
            self._snapshot = self._current = self._classic = None
        if differs:
            self._history.leave(self.loaded)
        self.rev += differs
        self.push += pushed
        self.ticket, self.as_of = self.begun, self.began
        self.loaded, self.version, self.is_denied = loaded, loaded.version, loaded.denied
        self._hold()
        recovered = self.failure is not None
        self.failure, self.reasons = None, ()
        receipts = self.receipts
        covers = receipts is not None and receipts.succeeded(is_denied=loaded.denied, is_gone=loaded.gone)
        # Who asked is waiting for an answer, even one that brings nothing new.
        news = differs or pushed or recovered or covers or Cause.SUBSCRIBE in asked
        return news, self._end()

    def give_up(self) -> LoadAction:
        """The attempt gave nothing, and none follows unless something asks again."""
        if self.receipts is not None:
            self.receipts.postponed()
        self._hold()  # what it depends on may be another now
        self.causes |= self.running_causes & ~Cause.SUBSCRIBE  # of which classic clients have yet to be told
        return self._end()

    def _end(self) -> LoadAction:
        self.attempts, self.running_causes = 0, _NO_CAUSE
        self.triggered_at = self.began  # what asked for a load before has been answered
        return self._step(LoadEvent.ENDED)

    def _step(self, event: LoadEvent) -> LoadAction:
        self.state, action = step(self.state, event)
        return action

    @property
    def is_loading(self) -> bool:
        """Whether an attempt runs."""
        return self.state in (LoadState.LOADING, LoadState.DIRTY)

    def concerns(self, entities: Collection[str]) -> bool:
        """Whether a change of one of these entities may concern this view."""
        return (
            self.key.entity in entities
            or any(read.entity in entities for read in self.reads)
            or any(row.entity in entities for row in self.rows)
        )

    # State and frames

    def fail(self, code: str, text: str, reason: Hashable = None) -> bool:
        """Until a load succeeds its clients are told; says whether it did not fail for this reason before."""
        number = self.number if self.version is not None else msgspec.UNSET
        since = self.triggered_at if self.failure is None else self.failure.since
        self.failure = Trouble.of_load(self.key, number, code, text, since)
        if reason in self.reasons:
            return False
        self.reasons += (reason,)
        return True

    @property
    def fresh(self) -> Frame:
        """The end of a failure."""
        return v2.frame(Fresh(view=self.number))

    @property
    def snapshot(self) -> Frame:
        """The rows whole, encoded once per rev for all v2 sessions."""
        if self._snapshot is None:
            loaded = self._known()
            self._snapshot = v2.frame(
                Snapshot(
                    view=self.number,
                    entity=self.key.entity,
                    id=self.key.id,
                    rev=self.rev,
                    version=loaded.version,
                    rows=tuple(row.wire for row in loaded.rows),
                    gone=loaded.gone,
                )
            )
            self._hold()
        return self._snapshot

    @property
    def current(self) -> Frame:
        """No body: for sessions that hold this version."""
        if self._current is None:
            self._current = self._told_current(())
        return self._current

    def covering(self, count: int) -> list[Frame]:
        """What tells a session that was told of ``count`` tokens which ones the state covers besides."""
        causes = () if self.receipts is None else self.receipts.since(count)
        return [self._told_current(causes)] if causes else []

    def _told_current(self, causes: tuple[str, ...]) -> Frame:
        if self.version is None:
            raise RuntimeError(f"view {self.key} has no state yet")
        entity, id = self.key
        return v2.frame(
            Current(view=self.number, entity=entity, id=id, rev=self.rev, version=self.version, causes=causes)
        )

    def since(self, rev: int) -> list[Frame]:
        """What brings a session from a rev to the newest: deltas, or the rows whole where those are less."""
        is_due = self._history.is_due
        deltas = self._history.since(rev, self.rev, self._known())
        if is_due:
            self._hold()
        return deltas or [self.snapshot]

    @property
    def classic(self) -> tuple[Frame, ...]:
        """One bare frame per row, as the application wrote it; none where the key is gone."""
        if self._classic is None:
            self._classic = tuple(Frame(row.verbatim) for row in self._known().rows)
            self._hold()
        return self._classic

    def _known(self) -> Loaded:
        if self.loaded is None:
            raise RuntimeError(f"view {self.key} has no rows now")
        return self.loaded

    # Memory: a view may be reduced to its version and what it depends on

    @property
    def held(self) -> int:
        """Bytes of its rows, of the frames made of them, and of what stays when it is reduced."""
        rows = 0 if self.loaded is None else self.loaded.held
        frames = sum(frame.held for frame in (*(self._classic or ()), self._snapshot) if frame is not None)
        return self.kept + rows + self._history.held + frames

    @property
    def kept(self) -> int:
        """Bytes that stay when it is reduced: what it depends on."""
        return _around(self.rows, self.reads)

    def needed(self, loaded: Loaded) -> int:
        """Bytes it would hold with this result."""
        return loaded.held + _around(loaded.dependencies, loaded.reads)

    def reduce(self) -> None:
        """Keep the version only: rows are sent after another load, and the next change goes out whole."""
        self.loaded = self._snapshot = self._classic = None
        self._history.leave(None)

    def recall(self) -> None:
        """Rows that are not kept are to be sent: they are loaded, unless a failure is told instead."""
        if self._memory is not None and self.failure is None:
            self._memory.recall(self)

    def _hold(self) -> None:
        if self._memory is not None:
            self._memory.hold(self, self.held, self.kept)


def _around(rows: Collection[EntityKey], reads: Collection[Reading]) -> int:
    return _AROUND_KEY * (len(rows) + sum(read.places for read in reads))
