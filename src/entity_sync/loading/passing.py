"""What the application's code raises as a value is looked at: for good, or for a moment."""

from __future__ import annotations

import msgspec

__all__ = ["passing"]

_LASTING = (AttributeError, LookupError, TypeError, ValueError, msgspec.MsgspecError)
"""What says that the value is not as it was meant to be; the texts of some have it."""


def passing(error: Exception) -> Exception | None:
    """The error where it may be over soon, as that of a lazy attribute whose database is away for an instant.

    None where the value is to blame, so that only another value ends it.
    """
    return None if isinstance(error, _LASTING) else error
