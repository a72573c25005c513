"""docs/reference.md says what the code does."""

from __future__ import annotations

import pytest

from entity_sync.capture.sqlalchemy import Watched
from tests import reference

pytestmark = pytest.mark.source


def test_page_is_that_of_the_code():
    """Whatever changes in a docstring, an option or a default is on the page too."""
    assert reference.FILE.read_text() == reference.page(), "write it anew: make fix"


def test_what_is_not_described_is_missed(monkeypatch: pytest.MonkeyPatch):
    """A field without a word in the docstring is named, and so is a word about no field."""
    text = (Watched.__doc__ or "").replace("        tags:", "        marks:")
    monkeypatch.setattr(Watched, "__doc__", text)
    with pytest.raises(ValueError, match="differ in marks, tags"):
        reference.page()
