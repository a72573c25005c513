"""One message, two physical forms."""

from __future__ import annotations

import pytest

from entity_sync.core.frame import Frame


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_wire_header(length: int, header: bytes):
    """A frame's header is that of RFC 6455 §5.2, at every edge of its length."""
    frame = Frame(b"x" * length)
    assert frame.wire == header + b"x" * length
    assert len(frame) == length


def test_forms_are_made_once():
    """Both forms are the same objects at every use, so N sessions share one."""
    frame = Frame("é".encode())
    assert frame.wire is frame.wire
    assert frame.text is frame.text
    assert frame.text == "é"
