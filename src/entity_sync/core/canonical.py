"""Canonical JSON and the version made of it: equal values, equal bytes, on every node."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from hashlib import blake2b
from math import isfinite

import msgspec

from entity_sync.errors import LoadFailed

__all__ = ["GONE_VERSION", "MAX_INTEGER", "canonical", "check", "version_of"]

_encoder = msgspec.json.Encoder(order="deterministic")
_MAX_DEPTH = 64

MAX_INTEGER = 2**53 - 1
"""The largest that a JavaScript client reads back unchanged."""


def canonical(value: object) -> bytes:
    """Encode built-in values (dict, list, str, int, float, bool, None) as canonical JSON.

    Raises:
        LoadFailed: NaN, an infinity, a lone surrogate, an integer beyond ±(2^53−1) or nesting
            deeper than 64, naming the field.
    """
    check(value)
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        raise LoadFailed(f"{_field(_surrogate(value))} holds a lone surrogate, which UTF-8 cannot") from None


def check(value: object, path: str = "", depth: int = 0) -> None:
    """Refuse what JSON or JavaScript would change in silence, naming the field.

    Raises:
        LoadFailed: as for `canonical`.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return
    if depth > _MAX_DEPTH:
        raise LoadFailed(f"{_field(path)} is nested deeper than {_MAX_DEPTH}")
    if isinstance(value, dict):
        for name, member in value.items():
            check(member, f"{path}.{name}", depth + 1)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            check(member, f"{path}[{index}]", depth + 1)
    elif isinstance(value, float):
        if not isfinite(value):
            raise LoadFailed(f"{_field(path)} is {value}, which JSON cannot hold")
    elif isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise LoadFailed(
            f"{_field(path)} is an integer beyond ±(2^53−1), which JavaScript rounds; send a string"
        )


def version_of(parts: Iterable[bytes]) -> str:
    """The 128-bit content hash of these texts, in order, as 22 characters of base64url."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()


def _surrogate(value: object, path: str = "") -> str:
    """The path of the innermost value that UTF-8 cannot hold."""
    members: Iterable[tuple[str, object]] = ()
    if isinstance(value, dict):
        members = ((f"{path}.{name}", member) for name, member in value.items())
    elif isinstance(value, list):
        members = ((f"{path}[{index}]", member) for index, member in enumerate(value))
    for inner, member in members:
        try:
            _encoder.encode(member)
        except UnicodeEncodeError:
            return _surrogate(member, inner)
    return path


def _field(path: str) -> str:
    return f"field {path.lstrip('.')!r}" if path else "the value"


GONE_VERSION = version_of([b"gone"])
"""The version of a view whose key does not exist; no row is the text ``gone``, as that is no JSON."""
