"""Least revisions: a load that read a replica behind them is not shown, and one that may be is repeated."""

from __future__ import annotations

from math import inf

from entity_sync.core.lives import Lives
from entity_sync.core.loaded import Loaded

__all__ = ["Fence"]

_MOST_LAGS = 2**10  # after which a row that was notified and is not there was deleted


class Fence:
    """What is known of one view's revision: the application's own ordered number of its row.

    A replica that is less than ``lag`` behind has, in a load that begins so long after something was said,
    all that had happened by then. So whatever names no revision to wait for (a deletion, a gap, a row that
    rides along, a view nobody watched before) is answered at once and once more after ``lag``. So is what
    was denied: if it waited for a revision, that would tell that there is such a key.

    A revision that was only notified is waited for as long and no longer: it may be wrong, or forged, and
    must not keep the row from being shown for ever. In case the replica is further behind, it is looked for
    again, each time after twice as long; where no row is found, ten times at most, since one that was deleted
    without a word looks alike.

    Below what was shown nothing is shown, unless the row may have been deleted since and made anew (`Lives`):
    where something without a revision was told, where it was found gone, and after a gap. Then a load finds
    a lower revision rightly if it begins ``lag`` after that, and after what was last known of the row. Where
    only a gap speaks of a deletion, the replica may be further behind instead: what was shown is looked for
    again, as what was only notified is.

    What can never be shown says nothing of its revision: where it may be older than what is known of, another
    load follows once none can be.

    Attributes:
        lag: seconds that a replica may be behind.
        due: a load that begins before this moment may miss something.
        missed: a revision that was notified, or shown before a gap, and not found in time, 0 where there is
            none.
    """

    __slots__ = (
        "_barred", "_doubted", "_exists", "_has_row", "_least", "_lives", "_shown", "_sure", "_told", "due",
        "lag", "missed",
    )  # fmt: skip

    def __init__(self, lag: float) -> None:
        """
        Args:
            lag: seconds that a replica may be behind.
        """
        self.lag = lag
        self.due = -inf
        self.missed = 0
        self._told = 0.0  # when that was notified
        self._doubted = -inf  # a load that begins from here on has all that no revision tells of
        self._least = 0  # the newest that was notified or shown
        self._shown = 0  # of the row that was shown last
        self._exists = False  # the newest word of the row is not that it was deleted
        self._has_row = False  # that is what is shown
        self._sure = -inf  # a load that begins from here on is right, if the row exists
        self._barred = -inf  # one that began before found what had been denied since
        self._lives = Lives(lag)

    def change(self, revision: int | None, now: float) -> float:
        """A change was told, with its revision, or without: then it may have been a deletion.

        Returns:
            the moment from which on a load that is shown has it; -inf where its revision says that.
        """
        if revision is None:
            self._exists = False
            self._lives.ended(now)
            return self.doubt(now)
        if revision > self._least:
            self._least = revision
            self._found(now)
        elif not self._exists or self._lives.has_doubt:  # late word of the row before, or of one made anew
            return self.doubt(now)
        return -inf

    def lost(self, now: float) -> None:
        """There was a gap: anything may have happened, and nobody told so."""
        self.doubt(now)
        self._lives.lost(now)

    def doubt(self, now: float) -> float:
        """Something happened then of which no revision tells, and the row was not deleted.

        Returns:
            the moment from which on a load has it.
        """
        self.due = self._doubted = max(self._doubted, now + self.lag)
        return self.due

    def judge(self, result: Loaded, began: float, now: float) -> str | None:
        """As `objects`; a result to which there is no objection is what is shown from now on."""
        objection = self.objects(result, began)
        if objection is None:
            self.shown(result, began, now)
        return objection

    def objects(self, result: Loaded, began: float) -> str | None:
        """Why the result of a load that began then is too old to be shown, None where it is not."""
        if result.denied:
            return None
        if result.gone:
            if self._exists and began < self._sure:
                return f"nothing, and revision {self._least} was notified or shown"
            return None
        if result.revision is not None and (objection := self._objects_to(result.revision, began)):
            return objection
        return "what was denied since" if began < self._barred else None

    def _objects_to(self, revision: int, began: float) -> str | None:
        if self._lives.may_be_former(revision, began, exists=self._exists):
            return f"revision {revision}, which may be of the row that was deleted"
        if revision >= self._least or self._may_be_lower(revision, began):
            return None
        return f"revision {revision}, after {self._least}"

    def _may_be_lower(self, revision: int, began: float) -> bool:
        if self._exists and began < self._sure:
            return False
        return self._lives.may_be_new(began) or (self._exists and revision >= self._shown)

    def shown(self, result: Loaded, began: float, now: float) -> None:
        """The result of a load that began then is what is shown from now on: nothing older may follow."""
        if result.denied:  # it says nothing of the row, and may have read an older right
            self.due = max(self.due, self._sure)
            self._barred = now + self.lag  # a replica that is behind may grant it still
        elif result.gone:
            self._shown_gone(now)
        else:
            self._shown_row(result.revision, began, now)

    def _shown_gone(self, now: float) -> None:
        if now - self._told >= _MOST_LAGS * self.lag:
            self.missed = 0
        self._compare(self._shown, now)  # no more of the row is found than was shown
        if self._exists or self._has_row:
            self._lives.went(now)
        self._exists = self._has_row = False

    def _shown_row(self, revision: int | None, began: float, now: float) -> None:
        self._has_row = True
        if revision is None:
            return
        if self._lives.is_told and revision < self._shown == self._least:
            self.missed = 0  # which was of the row before
        else:
            self._compare(revision, now)
        self._lives.came(revision, self._shown, began, now)
        self._least = self._shown = revision
        self._found(now)

    def failed(self, began: float, now: float) -> float:
        """A load that began then found what can never be shown: when a later one may find something else.

        Returns:
            the moment from which on it finds all that is known of; inf where this one did.
        """
        if self.missed and began >= self.due:
            self._look_later(now)
        sure = max(self.due, self._sure, self._barred)
        return sure if began < sure else inf

    def _compare(self, revision: int, now: float) -> None:
        if self._exists and revision < self._least:
            self.missed, self._told = self._least, max(self._sure - self.lag, self._lives.since)
        elif revision >= self.missed:
            self.missed = 0
        if self.missed:
            self._look_later(now)

    def _look_later(self, now: float) -> None:
        self.due = max(self.due, now + (now - self._told))

    def _found(self, now: float) -> None:
        self._exists, self._sure = True, now + self.lag
