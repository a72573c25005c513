"""One WebSocket, whichever door it came through: feeds the session, carries out its effects."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

import msgspec

from entity_sync.core import classic, effects, v2
from entity_sync.core.frame import Frame
from entity_sync.core.messages import Downward, Error, Expiring, Goodbye, Invalid, Ref, Reply, Upward
from entity_sync.core.outbox import Outbox
from entity_sync.core.session import Session, SessionState
from entity_sync.hub.node import Node
from entity_sync.hub.tasks import Tasks
from entity_sync.model import ClientMessage, ConnectionInfo
from entity_sync.server.asking import Asking
from entity_sync.server.expiry import Expiry
from entity_sync.server.flow import Flow
from entity_sync.server.freshness import Freshness
from entity_sync.server.passing import Passing
from entity_sync.server.serial import Serial
from entity_sync.server.transport import Transport
from entity_sync.server.watching import Watching

__all__ = ["Connection"]

_log = logging.getLogger("entity_sync.connection")


class Connection:
    """The session, outbox and subscriptions of one WebSocket.

    A door makes one per accepted handshake, calls `open`, feeds it with `receive`, tells it about
    its socket with `block`, `unblock` and `lost`, and is told what to do through its `Transport`.
    """

    def __init__(self, node: Node, transport: Transport, info: ConnectionInfo) -> None:
        application = node.application
        settings = application.settings
        self.outbox = Outbox(info.wire, settings.max_outgoing)
        self._node = node
        self._transport = transport
        self._info = info
        self._session = Session(info.wire, application.catalog.resolve, settings.max_subscriptions)
        self._principal: Any = None
        self._tasks = Tasks(copy_context())  # the handshake's, also where a gap makes us ask
        self._serial = Serial()
        self._freshness = Freshness(node, self.outbox, self._send)
        self._watching = Watching(
            node, self.outbox, self._tasks, self._serial, self._freshness, answer=self._answer
        )
        self._asking = Asking(node, info, self, self._tasks, self._decided)
        self._expiry = Expiry(application.clock, settings, self._warn, self.end)
        self._passing = Passing(application.on_message, self._tasks, self._answer, self._reply, self._pace)
        self._flow = Flow(transport, self.outbox, application.clock, settings.slow_timeout, self._too_slow)
        self._is_given_up = self._is_closed = False
        self._closed: asyncio.Event | None = None  # while somebody waits for that
        self._strange = 0

    # What the door tells

    def open(self) -> None:
        """The handshake is done."""
        node = self._node
        if node.is_draining or node.is_full:  # a door may wait between asking and this
            self._turn_away()
            return
        node.members[self] = None
        node.hub.fanout.open(self)
        if self._info.wire == "v2":
            self._send(node.welcome)
            self._asking.expect(lambda: self._feed(effects.Overdue()))

    def _turn_away(self) -> None:
        if not self._node.is_draining:
            self._transport.close(1013, "full")
            return
        if self._info.wire == "v2":
            self._send(self._node.welcome)
        self.drain()

    def receive(self, data: str | bytes) -> None:
        """A whole message arrived: ``str`` of a text frame, ``bytes`` of a binary one."""
        messages: list[Upward] = [classic.decode(data)] if self._info.wire == "classic" else v2.decode(data)
        for message in messages:
            if isinstance(message, Invalid):
                self._note(message)
            self._feed(message)
        self._pace()

    def block(self) -> None:
        """The socket takes no more for now."""
        self._flow.block()

    def unblock(self) -> None:
        """The socket takes bytes again."""
        self._flow.unblock()
        self._node.hub.fanout.wake(self.outbox)

    def lost(self) -> None:
        """The socket is closed, in whatever way."""
        if not self._is_closed:
            self._is_closed = True
            self._serial.do(self._leave)

    def _leave(self) -> None:
        if self._closed is not None:
            self._closed.set()
        node = self._node
        node.members.pop(self, None)
        node.principals.leave(self)
        node.hub.fanout.close(self)
        self._tasks.cancel()
        self._flow.close()
        self._asking.close()
        self._freshness.close()
        self._expiry.cancel()
        self._watching.close()
        self._passing.close()

    # What the node tells

    def write(self, frames: list[Frame]) -> None:
        """`Sink.write`."""
        self._transport.write(frames)

    def fail(self, error: Exception) -> None:
        """`Sink.fail`."""
        self._is_given_up = True
        _log.error("connection of %s ended: its news could not be sent", self._info.peer, exc_info=error)
        self._transport.abort()

    def asked(self) -> list[str]:
        """`Member.asked`."""
        asked = [f"authorize of {entity}" for entity in self._watching.asked()]
        return asked + ["authenticate"] * self._asking.is_busy + ["on_message"] * self._passing.is_busy

    def inform(self) -> None:
        """`Member.inform`: nothing is said to a client that never subscribed."""
        self._freshness.inform()

    def withhold(self) -> None:
        """`Member.withhold`."""
        self._watching.withhold()

    def drain(self) -> None:
        """`Member.drain`: the client comes back, spread over a while, to whichever node is there."""
        if self._info.wire == "v2" and not self.outbox.blocked:
            spread = self._node.application.random.randrange(500, 3_000)
            goodbye = v2.frame(Goodbye(code="drain", retry_after_ms=spread))
            # Not by the fan-out, which writes to so many connections a turn: the close frame is next.
            now = self._node.application.clock.now()
            self._transport.write([*self.outbox.take(0, now), goodbye])
        self._transport.close(1012, "drain")

    async def closed(self) -> None:
        """`Member.closed`: what the application was asked for it, and is told to end, has ended too."""
        if not self._is_closed:
            self._closed = self._closed or asyncio.Event()
            await self._closed.wait()
        await self._tasks.close()

    def end(self) -> None:
        """`Holder.end`."""
        self._expiry.cancel()
        self._node.principals.leave(self)
        self._feed(effects.Ended())

    def doubt(self) -> None:
        """`Holder.doubt`."""
        if self._node.application.authenticate is None:  # whoever knows the secret is who it says
            self.reauthorize()
        else:
            self._feed(effects.Doubted())

    def reauthorize(self) -> None:
        """`Holder.reauthorize`."""
        self._serial.do(self._watching.reauthorize)

    # Carrying out effects

    def _feed(self, event: effects.Event) -> None:
        self._serial.do(partial(self._carry_out, event))

    def _carry_out(self, event: effects.Event) -> None:
        if not self._is_closed:
            for effect in self._session.receive(event):
                _EFFECTS[type(effect)](self, effect)

    def _on_answer(self, effect: effects.Answer) -> None:
        self._answer(effect.message)

    def _on_authenticate(self, effect: effects.Authenticate) -> None:
        self.outbox.suspended = True
        self._freshness.withhold(self)
        self._expiry.cancel()
        self._asking.ask(effect)

    def _on_wait(self, _effect: effects.Wait) -> None:
        self.outbox.suspended = True
        self._asking.ask_later(lambda: self._feed(effects.Doubted()))
        self._freshness.doubt()

    def _on_admit(self, effect: effects.Admit) -> None:
        self._principal = effect.principal
        self.outbox.suspended = False
        self._expiry.begin(effect.principal)
        if effect.keys:  # it may have asked for them while it was nobody
            self._freshness.begin()
        self._watching.begin(effect.principal, effect.keys, effect.causes)
        self._node.hub.fanout.wake(self.outbox)

    def _on_watch(self, effect: effects.Watch) -> None:
        self._freshness.begin()
        self._watching.watch(effect.key, effect.version, causes=effect.causes)

    def _on_forget(self, effect: effects.Forget) -> None:
        self._watching.forget(effect.keys)

    def _on_repeat(self, effect: effects.Repeat) -> None:
        if not self._watching.repeat(effect.view, effect.rev):
            text = "no subscription of this connection has this view"
            self._answer(Error(code="unknown_view", text=text, retryable=False, ref=effect.ref))

    def _on_deliver(self, effect: effects.Deliver) -> None:
        self._passing.put(ClientMessage(effect.data, self._principal, self._info), effect.ref)

    def _on_dismiss(self, effect: effects.Dismiss) -> None:
        self._passing.dismiss(effect.why)

    def _on_close(self, effect: effects.Close) -> None:
        self._transport.close(effect.code, effect.reason)

    # Sending

    def _answer(self, message: Downward) -> None:
        if self._info.wire == "v2":
            self._send(v2.frame(message))

    def _reply(self, body: bytes, ref: Ref) -> None:
        if self._info.wire == "v2":
            self._send(v2.frame(Reply(body=msgspec.Raw(body), ref=ref)))
        else:
            self._send(Frame(body))

    def _send(self, frame: Frame) -> None:
        if not self._is_given_up and not self._node.hub.fanout.answer(self.outbox, frame):
            self._too_slow()

    def _too_slow(self) -> None:
        self._is_given_up = True
        _log.warning("connection of %s closed: it is too slow", self._info.peer)
        self._transport.close(1008, "slow")
        self._transport.abort()

    # Who it is

    def _decided(self, outcome: effects.Admitted | effects.Refused) -> None:
        self._serial.do(partial(self._conclude, outcome))

    def _conclude(self, outcome: effects.Admitted | effects.Refused) -> None:
        if isinstance(outcome, effects.Refused):
            self.outbox.suspended = False  # what is left to tell is not about anybody's data
        self._carry_out(outcome)
        if self._session.state in (SessionState.ADMITTED, SessionState.REFUSED):
            self._freshness.release(self)
        self._node.hub.fanout.wake(self.outbox)
        self._pace()

    def _warn(self, left: float) -> None:
        self._answer(Expiring(in_ms=round(left * 1_000)))

    def _pace(self) -> None:
        self._flow.pace(max(len(self._session.held), len(self._passing)))

    def _note(self, message: Invalid) -> None:
        self._strange += 1
        if self._strange.bit_count() == 1:  # 1, 2, 4, 8 …: a flood cannot fill the log
            wire, peer = self._info.wire, self._info.peer
            _log.info("%s %s message %d from %s: %s", wire, message.code, self._strange, peer, message.text)


_EFFECTS: dict[type, Callable[[Connection, Any], None]] = {
    effects.Answer: Connection._on_answer,
    effects.Authenticate: Connection._on_authenticate,
    effects.Admit: Connection._on_admit,
    effects.Watch: Connection._on_watch,
    effects.Forget: Connection._on_forget,
    effects.Repeat: Connection._on_repeat,
    effects.Deliver: Connection._on_deliver,
    effects.Dismiss: Connection._on_dismiss,
    effects.Wait: Connection._on_wait,
    effects.Close: Connection._on_close,
}
