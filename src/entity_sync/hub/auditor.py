"""Finding forgotten notifies: some views are loaded again although nobody said that they changed."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from random import Random

from entity_sync.clock import Clock
from entity_sync.core.differing import differing
from entity_sync.core.loaded import Loaded
from entity_sync.core.loadstate import Cause, LoadState
from entity_sync.core.view import View
from entity_sync.errors import ConfigurationError
from entity_sync.hub.hub import Hub
from entity_sync.hub.tasks import Tasks

__all__ = ["Audit", "Auditor", "Finding"]

_log = logging.getLogger("entity_sync.audit")
_SHOWN = 10  # names in a line of the log


@dataclass(frozen=True, slots=True)
class Finding:
    """What was shown of a key was old, and nothing had said so: a notify is probably missing.

    Attributes:
        entity, id: the key.
        fields: the top-level members that differed, and ``entity/id`` of rows that ride along; never a value.
            Empty where the value is no object, or only the order differed.
        age: seconds between the load that was shown and the one that differed.
    """

    entity: str
    id: str
    fields: tuple[str, ...]
    age: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Auditor:
    """Looks for forgotten notifies, by loading a few of the watched views again, chosen by chance.

    Each finding is one warning in the log. The default is for servers of thousands of views; where few are
    watched, as while one develops, ``Auditor(share=1.0, interval=2.0, grace=1.0)`` looks at all of them. What
    ``refresh_every`` finds is none: that is what it is for.

    Attributes:
        share: of the views of a process, how many are loaded again in each interval: above 0, up to 1.
        interval: seconds.
        grace: seconds that a notify may come later than the load that saw its commit.
        on_finding: called with each finding, in the event loop, and awaited where it is a coroutine function.
    """

    share: float = 0.001
    interval: float = 60.0
    grace: float = 10.0
    on_finding: Callable[[Finding], object] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ConfigurationError(f"Auditor.share must be above 0 and at most 1, not {self.share!r}")
        for name in ("interval", "grace"):
            value = getattr(self, name)
            if not 0 < value < inf:
                raise ConfigurationError(f"Auditor.{name} must be positive and finite, not {value!r}")
        if self.on_finding is not None and not callable(self.on_finding):
            raise ConfigurationError("Auditor.on_finding must be a function of a Finding")


@dataclass(frozen=True, slots=True)
class _Audited:
    """A view as its audit began.

    Attributes:
        began: seconds, of the load that gave ``loaded``.
        asked: what had asked for loads of it so far.
    """

    loaded: Loaded
    began: float
    asked: int


class Audit:
    """An auditor at work on one node."""

    def __init__(
        self,
        auditor: Auditor,
        hub: Hub,
        tasks: Tasks,
        *,
        clock: Clock,
        random: Random,
        is_certain: Callable[[], bool],
    ) -> None:
        """
        Args:
            tasks: where what is under way runs.
            is_certain: says whether all that was published has been heard.
        """
        self._auditor = auditor
        self._hub = hub
        self._tasks = tasks
        self._clock = clock
        self._random = random
        self._is_certain = is_certain
        self._audited: dict[View, _Audited] = {}
        hub.observe = self._settled

    async def run(self) -> None:
        """Load the share of each interval, spread over it, for ever."""
        while True:
            chosen = self._chosen()
            pause = self._auditor.interval / max(1, len(chosen))
            for view in chosen or (None,):
                await self._clock.sleep(pause)
                if view is not None:
                    self._read(view)

    def _chosen(self) -> list[View]:
        for view in [view for view in self._audited if not view.subscriptions]:
            del self._audited[view]  # its load ended with its last watcher
        views = [view for view in self._hub.views if view.loaded is not None]
        expected = self._auditor.share * len(views)
        count = int(expected) + (self._random.random() < expected % 1)
        return self._random.sample(views, count)

    def _read(self, view: View) -> None:
        is_idle = view.state is LoadState.IDLE and view.failure is None
        if is_idle and view.loaded is not None and self._is_unexplained(view):
            self._audited[view] = _Audited(view.loaded, view.began, view.asked)
            self._hub.loads.trigger(view, Cause.REREAD)

    def _is_unexplained(self, view: View) -> bool:
        return bool(view.subscriptions) and not self._hub.is_due(view) and self._is_certain()

    def _settled(self, view: View) -> None:
        audited = self._audited.pop(view, None)
        if audited is None or view.loaded is None:
            return  # nobody audits it, or its load failed, and its rows were not kept
        if view.loaded.version != audited.loaded.version:
            fields = differing(audited.loaded, view.loaded)
            finding = Finding(view.key.entity, view.key.id, fields, view.began - audited.began)
            self._tasks.start(self._suspect(view, finding, audited.asked))

    async def _suspect(self, view: View, finding: Finding, asked: int) -> None:
        """Another node may have written it, and its notify be on the way."""
        await self._clock.sleep(self._auditor.grace)
        if view.asked == asked and self._is_unexplained(view):
            names = ", ".join(finding.fields[:_SHOWN]) or "its value"
            _log.warning(
                "%s had changed since it was loaded %.1f s before, and nothing said so; is a notify missing? "
                "It differs in: %s",
                view.key,
                finding.age,
                names,
            )
            await self._tell(finding)

    async def _tell(self, finding: Finding) -> None:
        if self._auditor.on_finding is not None:
            try:
                told = self._auditor.on_finding(finding)
                if inspect.isawaitable(told):
                    await told
            except Exception as error:  # noqa: BLE001 - the application may raise anything
                _log.error("on_finding raised: %s", error, exc_info=error)
