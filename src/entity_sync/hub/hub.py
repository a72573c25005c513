"""A node's views: who watches what, and what a change, a gap or a new watcher leads to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from random import Random

from entity_sync.clock import Clock
from entity_sync.core.fence import Fence
from entity_sync.core.index import Index, spelled
from entity_sync.core.loaded import Loaded
from entity_sync.core.loadstate import Cause, LoadState
from entity_sync.core.memory import Memory
from entity_sync.core.outbox import Outbox
from entity_sync.core.recent import Recent
from entity_sync.core.subscription import ClassicSubscription, Subscription, V2Subscription
from entity_sync.core.view import View
from entity_sync.hub import causes
from entity_sync.hub.fanout import Fanout
from entity_sync.hub.loads import Loads
from entity_sync.hub.overdue import Overdue
from entity_sync.hub.pacing import Pacing
from entity_sync.hub.watched import watched
from entity_sync.loading.catalog import Catalog
from entity_sync.model import Audience, Change, EntityKey, ViewInfo
from entity_sync.settings import Settings

__all__ = ["Hub"]


class Hub:
    """The node's registry of views and subscriptions.

    It never learns which broker there is, nor what a connection looks like: changes and resyncs
    come in by key and entity, news goes out through the subscriptions' outboxes.

    Attributes:
        overdue: tells of views that have waited for long.
        observe: called with a view that has a result or a failure, while somebody wants to know.
    """

    def __init__(
        self, catalog: Catalog, clock: Clock, settings: Settings, random: Random, resynced: Callable[[], None]
    ) -> None:
        """
        Args:
            resynced: called when every view that a resync named has been loaded again.
        """
        self.fanout = Fanout(clock)
        self.recent = Recent()
        self.memory = Memory[View](settings.view_memory, View.reduce, self._recall)
        self.loads = Loads(
            catalog,
            clock,
            settings,
            random,
            begun=self._begun,
            fits=lambda view, loaded: self.memory.fits(view, view.needed(loaded)),
            depend=self._depend,
            settled=self._settled,
        )
        self.views = Index(lambda: random.randrange(1, 2**31), self.memory)
        self._recalled: dict[View, None] = {}
        self.observe: Callable[[View], None] | None = None
        self._catalog = catalog
        self._clock = clock
        self._settings = settings
        rate, find = settings.resync_rate, self.views.numbered
        self._resync = Pacing(clock, rate, find, self._reload(Cause.RESYNC), resynced)
        self._refresh = Pacing(clock, rate, find, self._reload(Cause.DEPENDENCY), lambda: None)
        paced = (self._resync, self._refresh)
        self.overdue = Overdue(clock, settings, self.loads, paced, self._settled)

    @property
    def idle(self) -> bool:
        """Whether every client has been written all there is, as far as it takes it."""
        is_loaded = self.loads.idle and self._resync.idle and self._refresh.idle and not self._recalled
        return is_loaded and self.fanout.idle

    async def close(self) -> None:
        """Stop all loads."""
        self._resync.close()
        self._refresh.close()
        await self.loads.close()

    # Watching

    def subscribe(
        self, outbox: Outbox, key: EntityKey, principal: object, version: str | None, since: int | None = None
    ) -> Subscription:
        """Register first, then see whether a load is needed: a change in between is not missed.

        Args:
            since: the moment of `recent` at which the client was to be subscribed.

        Raises:
            AccessDenied: there is no audience for this principal.
        """
        audience = self._catalog[key.entity].audience(principal)
        return self._subscribe(outbox, key, audience, version, since)

    def _subscribe(
        self, outbox: Outbox, key: EntityKey, audience: Audience, version: str | None, since: int | None
    ) -> Subscription:
        view = self.views.open(key, audience)
        if self._catalog[key.entity].revision is not None and view.fence is None:
            self._fence(view)
        if outbox.wire == "classic":
            return self._subscribe_classic(view, outbox, self.recent.moment if since is None else since)
        subscription = V2Subscription(view, outbox)
        view.subscriptions[subscription] = None
        self.ask(subscription, version)
        return subscription

    def ask(self, subscription: V2Subscription, version: str | None) -> None:
        """The client wants the state, holding ``version`` of it or nothing.

        A version unequal to ours may be newer than ours (the client comes from another node),
        so only a load that begins after this moment can answer it.
        """
        view = subscription.view
        subscription.ask(version)
        self.memory.touch(view)
        if version is not None and version != view.version:
            subscription.after = self.loads.ticket
            if view.fence is not None:
                view.fence.doubt(self._clock.now())
                subscription.not_before = view.fence.due
            self.loads.trigger(view, Cause.SUBSCRIBE)
        elif view.version is None and view.state is LoadState.IDLE:
            self.loads.trigger(view, Cause.SUBSCRIBE)
        self.fanout.mark(subscription)

    def ask_causes(self, subscription: V2Subscription) -> None:
        """The client wants to know which notifies a state covers, those that are remembered included."""
        view = subscription.view
        if view.receipts is None:
            view.receipts = causes.recall(view, self.recent)
        subscription.ask_causes()

    def rebind(self, subscription: Subscription, principal: object) -> Subscription:
        """The session is somebody else now: watch the same key as that principal.

        Raises:
            AccessDenied: there is no audience for this principal; the subscription is as it was.
        """
        view, outbox = subscription.view, subscription.outbox
        audience = self._catalog[view.key.entity].audience(principal)  # asked once: it may answer otherwise
        if spelled(audience) == spelled(view.audience):
            if isinstance(subscription, V2Subscription):
                subscription.ask_again()
                self.fanout.mark(subscription)
            return subscription
        due = isinstance(subscription, ClassicSubscription) and subscription.due
        # The other audience's state may be older than what was shown: as with a version that differs.
        moved = self._subscribe(outbox, view.key, audience, "", None)
        if isinstance(moved, V2Subscription) and isinstance(subscription, V2Subscription):
            moved.replace(subscription)
        self.unsubscribe(subscription)
        if due:
            self.loads.trigger(moved.view, Cause.NOTIFY)
        return moved

    def release(self, subscription: Subscription) -> None:
        """The client may see it: what was withheld goes out."""
        if subscription.withheld:
            subscription.withheld = False
            self.fanout.mark(subscription)

    def repeat(self, subscription: Subscription, rev: int) -> None:
        """Bring the client from the rev that it holds to the newest state, without a load."""
        if isinstance(subscription, V2Subscription):
            subscription.ask_from(rev)
            self.fanout.mark(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Watch no longer; a view that nobody watches is forgotten."""
        view = subscription.view
        subscription.outbox.forget(subscription)
        del view.subscriptions[subscription]
        if not view.subscriptions:
            self.views.close(view)
            self.loads.drop(view)
            self._resync.drop(view)
            self._refresh.drop(view)

    def _fence(self, view: View) -> None:
        view.fence = Fence(self._settings.replica_lag)
        for noted, change in self.recent.of(view.key):
            view.fence.change(change.revision, noted)
        view.fence.doubt(self._clock.now())

    def _subscribe_classic(self, view: View, outbox: Outbox, since: int) -> ClassicSubscription:
        subscription = ClassicSubscription(view, outbox)
        view.subscriptions[subscription] = None
        if self._settings.classic_snapshot:
            subscription.ask()
            if view.loaded is None:
                self.loads.trigger(view, Cause.SUBSCRIBE)
            self.fanout.mark(subscription)
        if self.recent.changed(view.key, since):  # it was being decided whether the client may see it
            self.loads.trigger(view, Cause.NOTIFY)
        return subscription

    def watched(self) -> list[ViewInfo]:
        """What is watched, for operators."""
        return watched(self.views, self._catalog)

    # What happens to the views

    def changed(self, change: Change) -> int:
        """A key changed: load its own views by loads that begin now or later; those that hold it as a row, or
        found it by a live query, may be many, so they are paced.

        Returns:
            how many those are.
        """
        now = self._clock.now()
        self.recent.note(change, now)
        for view in self.views.of(change.key):
            causes.changed(view, change, now)
            self.loads.trigger(view, Cause.NOTIFY)
        if dependents := self.views.depending(change):
            for view in dependents:
                if view.fence is not None or view.receipts is not None:  # of thousands few have one
                    causes.depended(view, change, now)
            for view in self.views.of(change.key):
                dependents.pop(view, None)  # its load was asked for above
        count = len(dependents)
        if count:
            self._refresh.add(_handed_over(dependents))
        return count

    def resync(self, entities: Collection[str] | None = None) -> None:
        """Changes of these entities (of all, if None) may have been lost: load their views again."""
        self.recent.note_all(self._catalog.topics if entities is None else entities)
        concerned = [view for view in self.views if entities is None or view.concerns(entities)]
        for view in concerned:
            if view.fence is not None:
                is_own = entities is None or view.key.entity in entities
                (view.fence.lost if is_own else view.fence.doubt)(self._clock.now())
        self._resync.add(_handed_over(concerned))

    def is_due(self, view: View) -> bool:
        """Whether a gap, or a change of what it depends on, has yet to lead to a load of this view."""
        return self._resync.waits(view) or self._refresh.waits(view)

    def _reload(self, cause: Cause) -> Callable[[View], None]:
        return lambda view: self.loads.trigger(view, cause)

    def _recall(self, view: View) -> None:
        """A subscription is to be sent rows that are not kept; connections are being written to."""
        if not self._recalled:
            asyncio.get_running_loop().call_soon(self._load_recalled)
        self._recalled[view] = None

    def _load_recalled(self) -> None:
        recalled, self._recalled = self._recalled, {}
        for view in recalled:
            if view.is_loading:
                view.running_causes |= Cause.SUBSCRIBE  # its result will do, if all are told of it
            elif view.subscriptions:
                self.loads.trigger(view, Cause.SUBSCRIBE)

    def _begun(self, view: View) -> None:
        view.moment = self.recent.moment

    def _depend(self, view: View, loaded: Loaded) -> bool:
        """Watch what the result depends on; whether some of that changed since its load began."""
        rows, reads = view.rows, view.reads
        is_overtaken = self.recent.concerns(loaded, view.moment, rows, reads)
        self.views.depend(view, loaded)
        causes.learn(view, self.recent, rows, reads)
        return is_overtaken

    def _settled(self, view: View, news: bool) -> None:
        if news:
            for subscription in view.subscriptions:
                self.fanout.mark(subscription)
        if self.observe is not None:
            self.observe(view)
        self._refresh.settled(view)
        self._resync.settled(view)  # last: what it may lead to says that all news is out


def _handed_over(views: dict[View, None] | list[View]) -> Iterator[View]:
    """All of them, held no longer by whoever hands them over: as loads begin, garbage collections do."""
    yield from views
    views.clear()
