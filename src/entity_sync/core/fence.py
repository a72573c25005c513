"""Least revisions: a load that read a replica behind them is not shown, and one that may be is repeated."""

from __future__ import annotations

from math import inf

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
    without a word looks alike. Below what was shown nothing is shown.

    What can never be shown says nothing of its revision: where it may be older than what is known of, another
    load follows once none can be.

    Attributes:
        due: a load that begins before this moment may miss something.
        missed: a revision that was notified and not found in time, 0 where there is none.
    """

    __slots__ = (
        "_anew", "_barred", "_exists", "_is_gone", "_lag", "_least", "_shown", "_sure", "_told", "due",
        "missed",
    )  # fmt: skip

    def __init__(self, lag: float) -> None:
        """
        Args:
            lag: seconds that a replica may be behind.
        """
        self.due = -inf
        self.missed = 0
        self._told = 0.0  # when that was notified
        self._lag = lag
        self._least = 0  # the newest that was notified or shown
        self._shown = 0
        self._exists = False  # the newest word of the row is not that it was deleted
        self._is_gone = False  # that is what is shown
        self._sure = -inf  # a load that begins from here on is right, if the row exists
        self._barred = -inf  # one that began before found what had been denied since
        self._anew = -inf  # and one that finds a lower revision, if it was deleted: revisions begin anew

    def change(self, revision: int | None, now: float) -> None:
        """A change was told, with its revision, or without: then it may have been a deletion."""
        if revision is None:
            self.doubt(now)
            self._deleted(now)
        elif revision > self._least:
            self._least = revision
            self._found(now)
        elif not self._exists:  # late word of the row that was deleted, or of one that begins anew
            self.doubt(now)

    def doubt(self, now: float) -> None:
        """Something happened of which no revision tells."""
        self.due = now + self._lag

    def judge(self, result: Loaded, began: float, now: float) -> str | None:
        """As `objects`; a result to which there is no objection is what is shown from now on."""
        objection = self.objects(result, began)
        if objection is None:
            self.shown(result, now)
        return objection

    def objects(self, result: Loaded, began: float) -> str | None:
        """Why the result of a load that began then is too old to be shown, None where it is not."""
        if result.denied:
            return None
        if result.gone:
            if self._exists and began < self._sure:
                return f"nothing, and revision {self._least} was notified or shown"
            return None
        if not self._may_follow(result.revision, began):
            return f"revision {result.revision}, after {self._least}"
        return "what was denied since" if began < self._barred else None

    def _may_follow(self, revision: int | None, began: float) -> bool:
        if revision is None or revision > self._least:
            return True
        if revision == self._least and (self._exists or not self._is_gone):
            return True
        return began >= (self._sure if self._exists else self._anew) and revision >= self._shown

    def shown(self, result: Loaded, now: float) -> None:
        """This is what is shown from now on: nothing older may follow."""
        if result.denied:  # it says nothing of the row, and may have read an older right
            self.due = max(self.due, self._sure)
            self._barred = now + self._lag  # a replica that is behind may grant it still
            return
        if result.gone:
            if now - self._told >= _MOST_LAGS * self._lag:
                self.missed = 0
            self._compare(self._shown, now)  # no more of the row is found than was shown
            if self._exists:
                self._deleted(now)
        elif result.revision is not None:
            self._compare(result.revision, now)
            self._least = self._shown = result.revision
            self._found(now)
        self._is_gone = result.gone

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
            self.missed, self._told = self._least, self._sure - self._lag
        elif revision >= self.missed:
            self.missed = 0
        if self.missed:
            self._look_later(now)

    def _look_later(self, now: float) -> None:
        self.due = max(self.due, now + (now - self._told))

    def _found(self, now: float) -> None:
        self._exists, self._sure = True, now + self._lag

    def _deleted(self, now: float) -> None:
        self._exists, self._anew, self._shown = False, now + self._lag, 0
