"""The session table: what each message leads to, in each state."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from msgspec import UNSET

from entity_sync.core.effects import (
    Admit,
    Admitted,
    Answer,
    Authenticate,
    Close,
    Deliver,
    Effect,
    Forget,
    Overdue,
    Refused,
    Repeat,
    Watch,
)  # fmt: skip
from entity_sync.core.messages import (
    Ack,
    Denied,
    Error,
    Failure,
    Invalid,
    Pass,
    Ping,
    Pong,
    Resync,
    Secret,
    Subscribe,
    Unsubscribe,
    Upward,
    Wanted,
)  # fmt: skip
from entity_sync.core.session import _TABLE, Session, SessionState
from entity_sync.errors import BadId, UnknownEntity
from entity_sync.model import EntityKey, Wire

ONE, TWO = EntityKey("items", "1"), EntityKey("items", "2")


def resolve(entity: str, id: str, _wire: Wire) -> EntityKey:
    if entity != "items":
        raise UnknownEntity(entity)
    if id == "bad":
        raise BadId(entity, "no")
    return EntityKey(entity, id)


def session(wire: Wire = "v2", limit: int = 3) -> Session:
    return Session(wire, resolve, limit)


def admitted(*keys: EntityKey, limit: int = 3) -> Session:
    one = session(limit=limit)
    one.receive(Secret("ann"))
    one.receive(Admitted("ann"))
    one.receive(subscribe(*keys))
    return one


def subscribe(*keys: EntityKey, **more: Any) -> Subscribe:
    return Subscribe(tuple(Wanted(*key) for key in keys), **more)


def answers(effects: list[Effect]) -> list[Any]:
    return [effect.message for effect in effects if isinstance(effect, Answer)]


def test_table_is_whole():
    """Every message in every state is listed, and every outcome where it can happen."""
    for state in SessionState:
        for kind in (*get_args(Upward), Overdue):
            assert (state, kind) in _TABLE
    assert {state for state, kind in _TABLE if kind in (Admitted, Refused)} == {SessionState.AUTHENTICATING}


def test_first_subscribe_authenticates_with_none():
    """A client that subscribes without a secret is authenticated with None, then answered."""
    one = session()
    assert one.receive(subscribe(ONE, ref=1)) == [Authenticate(None)]
    assert one.receive(Admitted("nobody")) == [
        Admit("nobody", ()),
        Answer(Ack(ref=1)),
        Watch(ONE, None, again=False),
    ]


def test_messages_wait_in_order():
    """What arrives while the secret is checked is answered afterwards, in order, each by itself."""
    one = session()
    one.receive(Secret("ann", ref="s"))
    for message in (subscribe(ONE, ref=1), Ping(ref=2), Unsubscribe((Wanted(*ONE),), ref=3)):
        assert one.receive(message) == []
    assert len(one.held) == 3
    effects = one.receive(Admitted("ann"))
    assert answers(effects) == [Ack(ref="s"), Ack(ref=1), Pong(ref=2), Ack(ref=3)]
    assert effects[1] == Admit("ann", ())


def test_second_secret_waits_for_the_first():
    """Two secrets in a row are two questions, one after the other."""
    one = session()
    one.receive(Secret("ann", ref=1))
    one.receive(Secret("bob", ref=2))
    assert one.receive(Admitted("ann")) == [Answer(Ack(ref=1)), Admit("ann", ()), Authenticate("bob")]
    assert one.state is SessionState.AUTHENTICATING


def test_new_secret_keeps_the_keys():
    """A new principal is admitted with the keys that are held."""
    one = admitted(ONE, TWO)
    assert one.receive(Secret("bob", ref=5)) == [Authenticate("bob")]
    assert one.receive(Admitted("bob")) == [Answer(Ack(ref=5)), Admit("bob", (ONE, TWO))]


def test_refused_secret():
    """A refused secret is one error with its ref; every held key is denied, and kept for another secret."""
    one = admitted(ONE)
    one.receive(Secret("bad", ref=6))
    assert one.receive(Refused()) == [
        Answer(Error(code="denied", text="the secret was refused", retryable=False, ref=6)),
        Forget((ONE,)),
        Answer(Denied(entity="items", id="1", code="denied")),
    ]
    assert one.receive(subscribe(TWO, ref=7)) == [
        Answer(Ack(ref=7)),
        Answer(Denied(entity="items", id="2", code="denied")),
    ]
    for message in (Pass(b"1", ref=8), Resync(1, 1, ref=8)):
        [error] = answers(one.receive(message))
        assert (error.code, error.ref) == ("denied", 8)
    one.receive(Secret("ann"))
    assert one.receive(Admitted("ann"))[-1] == Admit("ann", (ONE, TWO))


def test_refused_first_subscribe():
    """Where None is refused, the client is told without a ref, then its subscribe is answered."""
    one = session()
    one.receive(subscribe(ONE, ref=1))
    error, ack, denied = answers(one.receive(Refused()))
    assert (error.code, error.ref) == ("denied", UNSET)
    assert ack == Ack(ref=1)
    assert denied.id == "1"


def test_again_is_told_from_new():
    """Subscribing again asks for the state again; it is no second subscription."""
    one = admitted(ONE)
    message = Subscribe((Wanted("items", "1", "v"), Wanted("items", "2")))
    effects = one.receive(message)
    assert effects[1:] == [Watch(ONE, "v", again=True), Watch(TWO, None, again=False)]
    assert list(one.keys) == [ONE, TWO]


def test_one_bad_element_spoils_nothing():
    """Elements that cannot be are listed in the ack with what was sent; the others are watched."""
    one = admitted()
    refused = Failure("bad_body", "no", False, 5)
    wanted = (Wanted("nothing", "1"), Wanted("items", "bad"), Wanted("items", "1"))
    ack, watch = one.receive(Subscribe(wanted, (refused,), ref=1))
    assert isinstance(ack, Answer)
    assert isinstance(ack.message, Ack)
    codes = [(failure.code, failure.entity, failure.id) for failure in ack.message.failed]
    assert codes == [("bad_body", 5, UNSET), ("unknown_entity", "nothing", "1"), ("bad_id", "items", "bad")]
    assert watch == Watch(ONE, None, again=False)


def test_limit_and_room():
    """Beyond the limit a key is refused; unsubscribing makes room at once; again needs none."""
    one = admitted(ONE, limit=1)
    [ack] = answers(one.receive(subscribe(TWO, ONE)))
    assert [(failure.code, failure.retryable) for failure in ack.failed] == [("limit", True)]
    one.receive(Unsubscribe((Wanted(*ONE),)))
    [ack] = answers(one.receive(subscribe(TWO)))
    assert ack.failed == ()


def test_unsubscribe_is_a_set_operation():
    """Unsubscribing forgets what was held; what was not, or cannot be, is no failure."""
    one = admitted(ONE)
    wanted = (Wanted(*ONE), Wanted(*TWO), Wanted("nothing", "x"), Wanted("items", "bad"))
    refused = (Failure("bad_body", "no", False),)
    assert one.receive(Unsubscribe(wanted, refused, ref=1)) == [
        Forget((ONE,)),
        Answer(Ack(ref=1, failed=refused)),
    ]


def test_deadline():
    """Whoever says nothing in time is closed; whoever has begun is not."""
    assert session().receive(Overdue()) == [Close(1008, "no secret and no subscribe in time")]
    busy = session()
    busy.receive(Secret("ann"))
    for one in (busy, admitted()):
        assert one.receive(Overdue()) == []


def test_the_rest_is_handed_on():
    """Messages, resyncs, pings and nonsense go where they belong, with their refs."""
    one = admitted()
    assert one.receive(Pass(b"5", ref=1)) == [Deliver(b"5", 1)]
    assert one.receive(Resync(7, 8, ref=2)) == [Repeat(7, 2)]
    assert answers(one.receive(Ping())) == [Pong()]
    [error] = answers(one.receive(Invalid("bad_frame", "text", ref=3)))
    assert (error.code, error.text, error.ref) == ("bad_frame", "text", 3)


@pytest.mark.parametrize("message", [Invalid("bad_frame", "x"), Ping(), Secret("x"), subscribe(ONE)])
def test_classic_is_silent(message: Upward):
    """A classic session answers nothing, whatever it is sent."""
    one = session("classic")
    effects = [
        *one.receive(message),
        *(one.receive(Admitted("a")) if one.state is SessionState.AUTHENTICATING else []),
    ]
    assert answers(effects) == []


def test_secrets_do_not_show():
    """Neither the message nor the effect that carries a secret shows it."""
    assert "hush" not in repr([Secret("hush"), Authenticate("hush")])
