"""Least revisions of a view."""

from __future__ import annotations

from entity_sync.core.fence import Fence
from entity_sync.core.loaded import Loaded, LoadedRow

GONE = Loaded((), gone=True)


def at(revision: int | None) -> Loaded:
    return Loaded((LoadedRow(b"1", b"1"),), revision=revision)


def test_what_was_notified_and_what_was_shown():
    """Neither may be undercut; a result without a revision is not known to be old."""
    fence = Fence()
    assert fence.objects(at(0)) is None
    fence.change(5)
    fence.change(4)  # overtaken on its way
    assert fence.objects(at(4)) == "revision 4, after 5"
    assert fence.objects(at(None)) is None
    assert fence.objects(at(5)) is None
    fence.shown(at(7))
    fence.shown(at(None))
    assert fence.objects(at(6)) == "revision 6, after 7"


def test_nothing_is_too_old_too():
    """A row that is not there yet on the replica, unless the newest change may have been a deletion."""
    fence = Fence()
    assert fence.objects(GONE) is None
    fence.change(1)
    assert fence.objects(GONE) == "nothing, and revision 1 was notified"
    fence.change(None)
    assert fence.objects(GONE) is None
    fence.change(2)
    fence.doubt()
    assert fence.objects(GONE) is None


def test_a_row_that_begins_anew():
    """After a deletion revisions may fall, whether it was shown or only notified."""
    fence = Fence()
    fence.change(5)
    fence.change(None)
    fence.change(1)
    assert fence.objects(at(1)) is None
    fence.change(9)
    fence.change(None)
    fence.shown(GONE)
    assert fence.objects(at(1)) is None
