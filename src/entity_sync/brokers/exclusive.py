"""One process of an application at a time: for what cannot reach a second one."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import ClassVar

from entity_sync.errors import ConfigurationError

if sys.platform != "win32":
    import fcntl

__all__ = ["Exclusive"]


class Exclusive:
    """A claim on a name that one process of the same application may hold, any number of times.

    Workers of one application are children of the same server process and were started by the
    same command; they meet in the lock of one file in the temporary directory. The system frees
    the lock when the process ends, however it ends. On Windows nothing is checked.
    """

    _held: ClassVar[dict[str, tuple[int, int]]] = {}
    """Path → file descriptor and number of claims, all of this process."""
    _lock: ClassVar[Lock] = Lock()

    def __init__(self, name: str) -> None:
        """
        Args:
            name: what is claimed, as a person would name it.
        """
        self._name = name
        self._claimed = ""

    def acquire(self) -> None:
        """Claim the name.

        Raises:
            ConfigurationError: another process of this application holds it.
        """
        if sys.platform == "win32":
            return
        path = self._claimed = self._path()  # kept: the parent may die and the directory change meanwhile
        with self._lock:
            descriptor, claims = self._held.get(path) or (self._open(path), 0)
            self._held[path] = (descriptor, claims + 1)

    def release(self) -> None:
        """Give one claim back."""
        if sys.platform == "win32":
            return
        path = self._claimed
        with self._lock:
            descriptor, claims = self._held.get(path, (-1, 0))
            if claims > 1:
                self._held[path] = (descriptor, claims - 1)
            elif claims == 1:
                del self._held[path]
                Path(path).unlink(missing_ok=True)  # before the lock is freed, so never another's
                os.close(descriptor)

    def _open(self, path: str) -> int:
        while True:
            descriptor = self._lock_file(path)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), Path(path).stat()):
                    return descriptor
            os.close(descriptor)  # its holder removed it between our opening and our locking

    def _lock_file(self, path: str) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise ConfigurationError(
                f"{self._name} joins the nodes of one process, and another worker process of this "
                "application uses it already: a change notified in one would never reach the clients of "
                "the other. Run one worker, or give every worker a broker that joins processes (the URL "
                "is the first argument of EntitySync, or the environment variable ENTITY_SYNC_BROKER)"
            ) from None
        return descriptor

    def _path(self) -> str:
        # pytest-xdist runs unrelated tests in processes that look like workers of one application.
        parts = (os.getppid(), sys.argv, os.environ.get("PYTEST_XDIST_WORKER"), str(Path.cwd()), self._name)
        digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
        return str(Path(tempfile.gettempdir(), f"entity-sync-{os.getuid()}-{digest}.lock"))


def _begin_child() -> None:
    """A forked child holds nothing: what it inherits would outlive its parent's claim in it."""
    Exclusive._lock = Lock()
    for descriptor, _ in Exclusive._held.values():
        os.close(descriptor)
    Exclusive._held.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_begin_child)
