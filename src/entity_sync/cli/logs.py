"""The log of a command that serves: on standard error, for people or for programs."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import msgspec

__all__ = ["LogFormat", "log_to_stderr"]

LogFormat: TypeAlias = Literal["text", "json"]


def log_to_stderr(log_format: LogFormat) -> None:
    """Write what is logged from now on, from level INFO up."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_JsonLines() if log_format == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class _JsonLines(logging.Formatter):
    """One JSON object a line, whatever the message holds."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()
