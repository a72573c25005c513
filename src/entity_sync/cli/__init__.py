"""The command line."""

from entity_sync.cli.commands import main

__all__ = ["main"]
