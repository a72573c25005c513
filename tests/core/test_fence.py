"""Least revisions of a view, and when a load is to be repeated."""

from __future__ import annotations

from math import inf

from entity_sync.core.fence import Fence
from entity_sync.core.loaded import DENIED, Loaded, LoadedRow

GONE = Loaded((), gone=True)


def at(revision: int | None) -> Loaded:
    return Loaded((LoadedRow(b"1", b"1"),), revision=revision)


def test_what_was_notified_and_what_was_shown():
    """Neither may be undercut; a result without a revision is not known to be old."""
    fence = Fence(2.0)
    assert fence.objects(at(0), 0) is None
    fence.change(5, 0)
    fence.change(4, 1)  # overtaken on its way
    assert fence.objects(at(4), 1.9) == "revision 4, after 5"
    assert fence.objects(at(None), 1) is None
    assert fence.objects(at(5), 1) is None
    fence.shown(at(7), 3, 3)
    fence.shown(at(None), 4, 4)
    assert fence.objects(at(6), 100) == "revision 6, after 7"


def test_what_was_only_notified_is_waited_for_as_long_as_a_replica_may_take():
    """Then what is found is right, if it is not older than what was shown; it is looked for again."""
    fence = Fence(2.0)
    fence.shown(at(5), 0, 0)
    fence.change(9, 10)
    assert fence.judge(at(6), 11.9, 11.9) == "revision 6, after 9"
    assert fence.objects(at(4), 12) == "revision 4, after 9"
    assert fence.missed == 0
    assert fence.judge(at(6), 12, 12) is None
    assert (fence.missed, fence.due) == (9, 14)
    assert fence.objects(at(5), 100) == "revision 5, after 6"
    assert fence.judge(at(6), 14, 14) is None
    assert (fence.missed, fence.due) == (9, 18)
    fence.change(7, 15)
    assert fence.judge(at(7), 15, 15) is None
    assert (fence.missed, fence.due) == (9, 20)
    fence.doubt(19)
    assert fence.judge(at(9), 30, 30) is None
    assert (fence.missed, fence.due) == (0, 21)


def test_a_wrong_revision_of_a_row_that_begins_anew():
    """What was shown before a deletion does not count: the replica has what the row has since."""
    fence = Fence(2.0)
    fence.shown(at(5), 0, 0)
    fence.change(None, 10)
    fence.change(9, 11)
    assert fence.objects(at(1), 12.9) == "revision 1, after 9"
    assert fence.judge(at(1), 13, 13) is None
    assert fence.missed == 9


def test_nothing_is_too_old_too():
    """A row that another replica has, or that was notified, is missed by a load until its lag is over."""
    fence = Fence(2.0)
    assert fence.objects(GONE, 0) is None
    fence.change(1, 10)
    assert fence.objects(GONE, 11.9) == "nothing, and revision 1 was notified or shown"
    assert fence.objects(GONE, 12.0) is None
    fence.shown(at(2), 13, 13)
    fence.doubt(14)
    assert fence.objects(GONE, 14.9) == "nothing, and revision 2 was notified or shown"
    assert fence.objects(GONE, 15.0) is None


def test_a_row_that_was_notified_and_is_not_there():
    """It is looked for again as one that is behind, until what was notified is found."""
    fence = Fence(2.0)
    assert fence.judge(GONE, 0, 0) is None
    assert (fence.missed, fence.due) == (0, -inf)
    fence.change(5, 10)
    assert fence.judge(GONE, 12, 12.5) is None
    assert (fence.missed, fence.due) == (5, 15)
    assert fence.judge(GONE, 15, 15) is None
    assert (fence.missed, fence.due) == (5, 20)
    assert fence.judge(at(3), 20, 20) is None
    assert (fence.missed, fence.due) == (5, 30)
    assert fence.judge(at(5), 30, 30) is None
    assert fence.missed == 0
    fence.change(6, 40)
    assert fence.judge(GONE, 42, 42) is None  # what was shown is less than what was notified
    assert (fence.missed, fence.due) == (6, 44)


def test_a_row_that_is_never_there_is_given_up():
    """It may have been deleted without a word: it is looked for ten times, each time after twice as long."""
    fence, looks = Fence(2.0), list[float]()
    fence.change(5, 0)
    fence.doubt(0)
    while not looks or fence.due > looks[-1]:
        looks.append(fence.due)
        assert fence.judge(GONE, fence.due, fence.due) is None
    assert looks == [2.0 * 2**n for n in range(11)]
    assert fence.missed == 0
    now = looks[-1] + 100
    fence.change(6, now)  # another one is looked for as long
    assert fence.judge(GONE, now + 2, now + 2) is None
    assert (fence.missed, fence.due) == (6, now + 4)


def test_a_deletion_misses_nothing():
    """What was shown, or said to be deleted, and is gone was deleted."""
    fence = Fence(2.0)
    fence.shown(at(5), 0, 0)
    assert fence.judge(GONE, 10, 10) is None
    fence.change(6, 20)
    fence.change(None, 20)
    assert fence.judge(GONE, 20, 20) is None
    assert (fence.missed, fence.due) == (0, 22)


def test_a_deletion_is_believed_at_once():
    """The newest change said no revision: what does not find the row is not too old."""
    fence = Fence(2.0)
    fence.change(1, 10)
    fence.change(None, 10)
    assert fence.objects(GONE, 10) is None
    fence.change(2, 10)
    assert fence.objects(GONE, 10) is not None


def test_a_deleted_row_does_not_come_back():
    """What another replica still has of it is not shown after a deletion, whatever late word comes of it."""
    fence = Fence(2.0)
    fence.shown(at(5), 0, 0)
    fence.change(None, 10)
    assert fence.objects(at(5), 10) is None  # that is shown still
    assert fence.objects(at(4), 10) == "revision 4, after 5"
    fence.shown(GONE, 10.5, 10.5)
    for late in (4, 5):
        fence.change(late, 11)
        assert fence.objects(at(late), 12.4) == f"revision {late}, which may be of the row that was deleted"
        assert fence.objects(GONE, 11) is None
    assert fence.objects(at(6), 12.4) == "revision 6, which may be of the row that was deleted"
    fence.change(6, 12.4)  # there is a row
    assert fence.objects(at(6), 12.4) is None


def test_a_row_that_begins_anew():
    """After a deletion revisions may fall, once no replica can have the row that was deleted."""
    fence = Fence(2.0)
    fence.shown(at(5), 0, 0)
    fence.change(None, 10)
    fence.change(1, 11)
    assert fence.due == 13
    assert fence.objects(at(1), 11.9) == "revision 1, after 5"
    assert fence.objects(at(1), 12) is None
    fence.shown(at(1), 12, 12)
    assert fence.objects(at(2), 12) is None
    fence.shown(at(7), 20, 20)
    fence.shown(GONE, 30, 30)
    fence.shown(GONE, 31, 31)
    assert fence.objects(at(1), 31.9) == "revision 1, which may be of the row that was deleted"
    assert fence.objects(at(1), 32) is None


def test_a_denial_waits_for_nothing():
    """Else it would tell that there is such a key; it says nothing of the row, and is looked at once more."""
    fence = Fence(2.0)
    fence.shown(at(5), 0, 0)
    fence.change(6, 10)
    assert fence.judge(DENIED, 10, 10) is None
    assert fence.due == 12
    fence.doubt(11)
    assert fence.judge(DENIED, 11, 11) is None
    assert fence.due == 13
    assert fence.objects(at(5), 11) == "revision 5, after 6"
    assert fence.objects(GONE, 11) is not None


def test_what_no_revision_tells_of_is_due_once_more():
    """A doubt, and a change without a revision, want a load that begins a lag later; a revision does not."""
    fence = Fence(2.0)
    assert fence.due == -inf
    fence.change(1, 10)
    fence.shown(at(1), 10, 10)
    assert fence.due == -inf
    fence.doubt(11)
    assert fence.due == 13
    fence.change(None, 12)
    assert fence.due == 14


def test_rows_after_a_denial():
    """A replica that is behind may grant what was denied since; the denial itself waits for nothing."""
    fence = Fence(2.0)
    assert fence.judge(at(10), 0, 0) is None
    assert fence.judge(DENIED, 10, 10) is None
    assert fence.judge(at(10), 10.5, 10.5) == "what was denied since"
    assert fence.judge(at(11), 11.9, 11.9) == "what was denied since"
    assert fence.judge(at(4), 12.5, 12.5) == "revision 4, after 10"
    assert fence.judge(at(10), 12, 12) is None


def test_revision_zero_is_one_as_any():
    """A row that was never shown, and one that begins anew after a deletion, may be of revision 0."""
    fence = Fence(2.0)
    fence.change(5, 10)
    assert fence.judge(at(0), 12, 12) is None
    assert fence.missed == 5
    fence = Fence(2.0)
    assert fence.judge(at(0), 0, 0) is None
    assert (fence.missed, fence.due) == (0, -inf)
    fence = Fence(2.0)
    fence.shown(at(5), 0, 0)
    fence.change(None, 10)
    fence.change(1, 11)
    assert fence.judge(at(0), 14, 14) is None


def test_what_can_never_be_shown_is_looked_at_again_once_it_is_sure():
    """It may be older than what was said; a load that cannot be has the last word."""
    fence = Fence(2.0)
    assert fence.failed(5, 5) == inf
    fence.change(1, 10)
    assert fence.failed(11.9, 12.5) == 12
    assert fence.failed(12, 12.5) == inf
    fence.change(None, 20)
    assert fence.failed(21.9, 21.9) == 22
    assert fence.failed(22, 22) == inf
    fence.shown(DENIED, 30, 30)
    assert fence.failed(31, 31) == 32
    assert fence.failed(32, 32) == inf


def test_what_can_never_be_shown_while_a_revision_is_missed():
    """A replica that is further behind has not come to it yet: it is looked for as where rows are shown."""
    fence = Fence(2.0)
    fence.change(9, 10)
    assert fence.judge(at(6), 12, 12) is None
    assert fence.due == 14
    assert fence.failed(13, 13) == 14
    assert fence.failed(14, 14.5) == 19


def test_a_row_is_given_up_by_how_long_ago_it_was_notified():
    """And not by what the clock says."""
    fence = Fence(2.0)
    fence.change(9, 100_000)
    for moment in (100_002, 100_004):
        assert fence.judge(GONE, moment, moment) is None
        assert fence.missed == 9


def test_a_gap_may_hide_that_a_row_was_made_anew():
    """A lower revision is shown once a replica must have what was known, and that is looked for again."""
    fence = Fence(2.0)
    fence.shown(at(5), 0, 0)
    fence.lost(100)
    assert fence.due == 102
    assert fence.objects(at(1), 101.9) == "revision 1, after 5"
    assert fence.judge(at(1), 102, 102) is None
    assert (fence.missed, fence.due) == (5, 104)
    assert fence.judge(at(2), 104, 104) is None
    assert (fence.missed, fence.due) == (5, 108)
    assert fence.judge(at(5), 108, 108) is None
    assert fence.missed == 0


def test_what_is_shown_after_a_gap_is_not_undercut():
    """Not by a replica that was behind as it was shown; nor after a row is shown that had all of the gap."""
    fence = Fence(2.0)
    fence.shown(at(5), 0, 0)
    fence.lost(100)
    fence.change(6, 101)
    assert fence.judge(at(6), 101, 101.5) is None
    assert fence.objects(at(5), 103.4) == "revision 5, after 6"
    assert fence.objects(at(5), 103.5) is None
    assert fence.judge(at(6), 103, 103) is None
    assert fence.objects(at(5), 1_000) == "revision 5, after 6"
    fence.lost(2_000)
    assert fence.objects(GONE, 2_000) is None  # every replica has had it for long


def test_a_gap_and_a_deletion():
    """What was told of a deletion is known after a gap as well, and nothing is missed of the row before."""
    fence = Fence(2.0)
    fence.shown(at(5), 0, 0)
    fence.change(None, 10)
    fence.lost(11)
    assert fence.objects(at(1), 12.9) == "revision 1, after 5"
    assert fence.judge(at(1), 13, 13) is None
    assert fence.missed == 0
    fence.lost(20)  # the deletion has been seen: of another one nobody spoke
    assert fence.judge(at(0), 22, 22) is None
    assert fence.missed == 1


def test_a_row_that_a_replica_has_still_after_its_deletion_was_told():
    """It is shown, since nothing is older; the row that was made anew follows all the same."""
    fence = Fence(2.0)
    fence.shown(at(5), 0, 0)
    fence.change(None, 10)
    assert fence.judge(at(5), 10, 10.1) is None
    fence.change(1, 11)
    assert fence.due == 13
    assert fence.objects(at(1), 12) == "revision 1, after 5"
    assert fence.judge(at(1), 12.1, 12.2) is None
    assert fence.missed == 0


def test_the_row_before_the_one_that_was_made_anew():
    """What a replica may still have of it is not shown; lower revisions are of the new row."""
    fence = Fence(2.0)
    fence.shown(at(5), 0, 0)
    fence.change(None, 10)
    assert fence.judge(at(1), 12, 12.5) is None
    for former in (5, 6):
        expected = f"revision {former}, which may be of the row that was deleted"
        assert fence.objects(at(former), 14.4) == expected
        assert fence.objects(at(former), 14.5) is None
    assert fence.objects(at(4), 13) is None


def test_from_when_on_a_load_has_what_was_told():
    """Its revision says so, or the lag; a doubt about an earlier moment takes none back."""
    fence = Fence(2.0)
    assert fence.change(5, 10) == -inf
    assert fence.change(4, 11) == -inf
    assert fence.change(None, 12) == 14
    assert fence.change(1, 13) == 15
    assert fence.doubt(12) == fence.due == 15
    assert fence.change(6, 20) == -inf
    assert fence.doubt(21) == fence.due == 23


def test_a_row_that_comes_after_there_was_none():
    """What has never been there was not deleted: the first row that is found is shown at once."""
    fence = Fence(2.0)
    assert fence.judge(GONE, 0, 0) is None
    assert fence.judge(at(3), 0.5, 0.5) is None
