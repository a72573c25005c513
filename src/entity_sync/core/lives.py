"""Rows that are deleted and made anew: revisions begin anew, and a replica may have the former row still."""

from __future__ import annotations

from math import inf

__all__ = ["Lives"]


class Lives:
    """Whether the row that a load finds may be another one than the row before it, of the same key.

    It may be once a deletion was told, or seen, or may have been missed in a gap. A load that begins ``lag``
    after that has it; one that began before may have found either row.

    Attributes:
        is_told: a deletion was told or seen, and not only possible.
    """

    __slots__ = ("_anew", "_former", "_former_until", "_gone_until", "_lag", "is_told")

    def __init__(self, lag: float) -> None:
        """
        Args:
            lag: seconds that a replica may be behind.
        """
        self.is_told = False
        self._lag = lag
        self._anew = inf  # a load that begins from here on has the last deletion; inf: there was none
        self._former = 0  # the revision that was shown of the row before the one that is shown
        self._former_until = -inf  # a load that began before may have found that row
        self._gone_until = -inf  # and one that began before, the row that is gone now

    @property
    def has_doubt(self) -> bool:
        """Whether no row has been shown that had the last deletion, if it was one."""
        return self._anew < inf

    @property
    def since(self) -> float:
        """When it was told or seen, or the gap found; -inf where there is no doubt."""
        return self._anew - self._lag if self.has_doubt else -inf

    def ended(self, now: float) -> None:
        """The row was deleted, or may have been: something that says no revision happened to it."""
        self.is_told, self._anew = True, now + self._lag

    def lost(self, now: float) -> None:
        """There was a gap, which may have hidden a deletion."""
        self.is_told, self._anew = self.is_told and self.has_doubt, now + self._lag

    def went(self, now: float) -> None:
        """It is shown that there is no row, after one that was shown or notified."""
        self.ended(now)
        self._gone_until = now + self._lag

    def came(self, revision: int, former: int, began: float, now: float) -> None:
        """A row is shown, found by a load that began then, after one of revision ``former``."""
        if revision < former:
            self._former, self._former_until = former, now + self._lag
        if began >= self._anew:
            self._anew = inf

    def may_be_new(self, began: float) -> bool:
        """Whether what such a load finds is the new row, if its revision is lower."""
        return began >= self._anew

    def may_be_former(self, revision: int, began: float, *, exists: bool) -> bool:
        """Whether what such a load found may be the former row although that is shown no more.

        Args:
            exists: the newest word of the row is not that it was deleted.
        """
        if began < self._former_until and revision >= self._former:
            return True
        return began < self._gone_until and not exists
