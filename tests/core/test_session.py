"""The session table: what each message leads to, in each state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from entity_sync.core import v2
from entity_sync.core.effects import (
    Admit,
    Admitted,
    Answer,
    Authenticate,
    Close,
    Deliver,
    Dismiss,
    Doubted,
    Effect,
    Ended,
    Forget,
    Overdue,
    Refused,
    Repeat,
    Wait,
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
        for kind in (*get_args(Upward), Overdue, Ended, Doubted):
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
    """Two secrets in a row are two questions, in order; nothing is done for the first principal."""
    one = session()
    one.receive(Secret("ann", ref=1))
    one.receive(Secret("bob", ref=2))
    assert one.receive(Admitted("ann")) == [Answer(Ack(ref=1)), Authenticate("bob")]
    assert one.state is SessionState.AUTHENTICATING
    assert one.receive(Admitted("bob")) == [Answer(Ack(ref=2)), Admit("bob", ())]


def test_what_is_wanted_between_two_secrets():
    """It is the first principal's."""
    one = session()
    one.receive(Secret("ann"))
    one.receive(subscribe(ONE))
    one.receive(Secret("bob"))
    effects = one.receive(Admitted("ann"))
    assert Admit("ann", ()) in effects
    assert isinstance(effects[-1], Authenticate)


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
        Dismiss(Refused()),
        Answer(Error(code="denied", text="the secret was refused", retryable=False, ref=6)),
        Forget((ONE,)),
        Answer(Denied(entity="items", id="1", code="denied")),
    ]
    assert one.receive(subscribe(TWO, ref=7)) == [
        Answer(Ack(ref=7)),
        Forget((TWO,)),
        Answer(Denied(entity="items", id="2", code="denied")),
    ]
    for message in (Pass(b"1", ref=8), Resync(1, 1, ref=8)):
        [error] = answers(one.receive(message))
        assert (error.code, error.ref) == ("denied", 8)
    one.receive(Secret("ann"))
    assert one.receive(Admitted("ann"))[-1] == Admit("ann", (ONE, TWO))


def test_refused_first_subscribe():
    """Where None is refused, a subscribe is answered as any that is refused, and nothing else is told."""
    one = session()
    one.receive(subscribe(ONE, ref=1))
    assert answers(one.receive(Refused())) == [
        Ack(ref=1),
        Denied(entity="items", id="1", code="denied"),
    ]


def test_refused_first_message():
    """Where None is refused, so is a message, in its one answer, which says whether to try again."""
    for outcome in (Refused(), Refused("busy", "not now", retryable=True)):
        one = session()
        one.receive(Pass(b"1", ref=1))
        [error] = answers(one.receive(outcome))
        assert (error.code, error.text, error.ref) == (outcome.code, outcome.text, 1)
        assert error.retryable is outcome.retryable


@pytest.mark.parametrize("code", ["denied", "busy"])
def test_refused_unasked(code: str):
    """Who is refused without having asked is told so of each key, and why, until it is somebody else."""
    one = admitted(ONE)
    one.receive(Doubted())
    gone = Denied(entity="items", id="1", code=code)
    assert answers(one.receive(Refused(code, "no"))) == [gone]
    assert answers(one.receive(subscribe(ONE))) == [Ack(), gone]
    one.receive(Secret("bob", ref=1))
    one.receive(Admitted("bob"))
    assert answers(one.receive(Ended())) == [Denied(entity="items", id="1", code="denied")]


BUSY_NOW = Refused("busy", "not now", retryable=True)


def test_in_doubt_until_there_is_an_answer():
    """Where nobody can tell who a client still is, its keys are watched on, and the question is put again: a
    failure of the application is no refusal."""
    one = admitted(ONE)
    for _ in range(3):
        assert one.receive(Doubted()) == [Authenticate("ann", again=True)]
        assert one.receive(subscribe(TWO, ref=1)) == []
        assert one.receive(BUSY_NOW) == [
            Dismiss(BUSY_NOW),
            Wait(),
            Answer(Ack(ref=1)),
            Forget((TWO,)),
            Answer(Denied(entity="items", id="2", code="busy")),
        ]
    one.receive(Doubted())
    assert one.receive(Admitted("ann")) == [Admit("ann", (ONE, TWO))]
    one.receive(Doubted())
    assert one.receive(Refused())[:2] == [Dismiss(Refused()), Forget((ONE, TWO))]
    assert one.state is SessionState.REFUSED


def test_a_secret_ends_the_doubt():
    """It is a question of the client's own, so it is answered, whatever becomes of it."""
    one = admitted(ONE)
    one.receive(Doubted())
    one.receive(Secret("bob", ref=1))
    assert one.receive(BUSY_NOW) == [Dismiss(BUSY_NOW), Wait(), Authenticate("bob")]
    assert one.receive(BUSY_NOW) == [
        Dismiss(BUSY_NOW),
        Answer(Error(code="busy", text="not now", retryable=True, ref=1)),
        Forget((ONE,)),
        Answer(Denied(entity="items", id="1", code="busy")),
    ]
    assert one.receive(Doubted()) == []


def test_causes_are_wanted_still():
    """Who is admitted after a refusal is told of causes where it asked for them, then or while refused."""
    one = admitted()
    one.receive(Subscribe((Wanted(ONE.entity, ONE.id, causes=True),)))
    one.receive(Secret("bad"))
    one.receive(Refused())
    one.receive(Subscribe((Wanted(TWO.entity, TWO.id, causes=True),)))
    one.receive(subscribe(EntityKey("items", "3")))
    one.receive(Secret("ann", ref=1))
    [_, admit] = one.receive(Admitted("ann"))
    assert isinstance(admit, Admit)
    assert admit.causes == {ONE, TWO}
    one.receive(subscribe(ONE))
    one.receive(Ended())
    one.receive(Secret("ann"))
    assert one.receive(Admitted("ann"))[-1] == Admit("ann", admit.keys, frozenset({TWO}))


def test_refused_secret_without_ref():
    """A secret is answered, with a ref or not."""
    one = session()
    one.receive(Secret("bad"))
    [error] = answers(one.receive(Refused()))
    assert (error.code, error.ref) == ("denied", UNSET)


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
    assert not any(failure.retryable for failure in ack.message.failed)
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
    wanted = (Wanted("nothing", "x"), Wanted("items", "bad"), Wanted(*TWO), Wanted(*ONE))
    refused = (Failure("bad_body", "no", False),)
    assert one.receive(Unsubscribe(wanted, refused, ref=1)) == [
        Forget((ONE,)),
        Answer(Ack(ref=1, failed=refused)),
    ]


def test_both_ways_a_key_is_looked_up_alike():
    """What a client of a wire subscribes to it leaves by the same spelling."""
    asked: list[Wire] = []

    def spelled(entity: str, id: str, wire: Wire) -> EntityKey:
        asked.append(wire)
        return EntityKey(entity, id)

    for wire in ("v2", "classic"):
        asked.clear()
        one = Session(wire, spelled, 3)
        one.receive(subscribe(ONE))
        one.receive(Admitted("ann"))
        one.receive(Unsubscribe((Wanted(*ONE),)))
        assert asked == [wire, wire]


def test_what_is_wrong_with_an_id():
    """A failure says what the entity's id type says of the id."""
    [ack] = answers(admitted().receive(Subscribe((Wanted("items", "bad"),))))
    assert [failure.text for failure in ack.failed] == [str(BadId("items", "no"))]


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
    assert one.receive(Resync(7, 8, ref=2)) == [Repeat(7, 8, 2)]
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


NEW, BUSY, IN, DOUBTED, OUT = (
    SessionState.NEW,
    SessionState.AUTHENTICATING,
    SessionState.ADMITTED,
    SessionState.DOUBTED,
    SessionState.REFUSED,
)
EVENTS: dict[type, Any] = {
    Secret: Secret("bob", ref=1),
    Subscribe: subscribe(TWO, ref=1),
    Unsubscribe: Unsubscribe((Wanted(*ONE),), ref=1),
    Resync: Resync(7, 8, ref=1),
    Pass: Pass(b"5", ref=1),
    Ping: Ping(ref=1),
    Invalid: Invalid("bad_frame", "text", ref=1),
    Overdue: Overdue(),
    Ended: Ended(),
    Doubted: Doubted(),
    Admitted: Admitted("bob"),
    Refused: Refused("denied", "no"),
}
"""One event of every kind, to a session that holds ONE (where it can)."""

ACK = Answer(Ack(ref=1))
PONG = Answer(Pong(ref=1))
INVALID = Answer(Error(code="bad_frame", text="text", retryable=False, ref=1))
DENIED = Answer(Error(code="denied", text="the secret was refused", retryable=False, ref=1))

ROWS: dict[tuple[SessionState, type], tuple[SessionState, list[Effect]]] = {
    (NEW, Secret): (BUSY, [Authenticate("bob")]),
    (NEW, Subscribe): (BUSY, [Authenticate(None)]),
    (NEW, Unsubscribe): (NEW, [Forget(()), ACK]),
    (NEW, Resync): (NEW, [Repeat(7, 8, 1)]),
    (NEW, Pass): (BUSY, [Authenticate(None)]),
    (NEW, Ping): (NEW, [PONG]),
    (NEW, Invalid): (NEW, [INVALID]),
    (NEW, Overdue): (NEW, [Close(1008, "no secret and no subscribe in time")]),
    (NEW, Ended): (NEW, []),
    (NEW, Doubted): (NEW, []),
    (BUSY, Secret): (BUSY, []),
    (BUSY, Subscribe): (BUSY, []),
    (BUSY, Unsubscribe): (BUSY, []),
    (BUSY, Resync): (BUSY, []),
    (BUSY, Pass): (BUSY, []),
    (BUSY, Ping): (BUSY, []),
    (BUSY, Invalid): (BUSY, []),
    (BUSY, Overdue): (BUSY, []),
    (BUSY, Ended): (BUSY, []),
    (BUSY, Doubted): (BUSY, []),
    (BUSY, Admitted): (IN, [Answer(Ack(ref=9)), Admit("bob", (ONE,))]),
    (BUSY, Refused): (
        OUT,
        [
            Dismiss(Refused("denied", "no")),
            Answer(Error(code="denied", text="no", retryable=False, ref=9)),
            Forget((ONE,)),
            Answer(Denied(entity="items", id="1", code="denied")),
        ],
    ),
    (IN, Secret): (BUSY, [Authenticate("bob")]),
    (IN, Subscribe): (IN, [ACK, Watch(TWO, None, again=False)]),
    (IN, Unsubscribe): (IN, [Forget((ONE,)), ACK]),
    (IN, Resync): (IN, [Repeat(7, 8, 1)]),
    (IN, Pass): (IN, [Deliver(b"5", 1)]),
    (IN, Ping): (IN, [PONG]),
    (IN, Invalid): (IN, [INVALID]),
    (IN, Overdue): (IN, []),
    (IN, Ended): (
        OUT,
        [Dismiss(Refused()), Forget((ONE,)), Answer(Denied(entity="items", id="1", code="denied"))],
    ),
    (IN, Doubted): (BUSY, [Authenticate("bob", again=True)]),
    (DOUBTED, Secret): (BUSY, [Authenticate("bob")]),
    (DOUBTED, Subscribe): (
        DOUBTED,
        [ACK, Forget((TWO,)), Answer(Denied(entity="items", id="2", code="busy"))],
    ),
    (DOUBTED, Unsubscribe): (DOUBTED, [Forget((ONE,)), ACK]),
    (DOUBTED, Resync): (DOUBTED, [Repeat(7, 8, 1)]),
    (DOUBTED, Pass): (DOUBTED, [Answer(Error(code="busy", text="not now", retryable=True, ref=1))]),
    (DOUBTED, Ping): (DOUBTED, [PONG]),
    (DOUBTED, Invalid): (DOUBTED, [INVALID]),
    (DOUBTED, Overdue): (DOUBTED, []),
    (DOUBTED, Ended): (DOUBTED, []),
    (DOUBTED, Doubted): (BUSY, [Authenticate("bob", again=True)]),
    (OUT, Secret): (BUSY, [Authenticate("bob")]),
    (OUT, Subscribe): (OUT, [ACK, Forget((TWO,)), Answer(Denied(entity="items", id="2", code="denied"))]),
    (OUT, Unsubscribe): (OUT, [Forget((ONE,)), ACK]),
    (OUT, Resync): (OUT, [DENIED]),
    (OUT, Pass): (OUT, [DENIED]),
    (OUT, Ping): (OUT, [PONG]),
    (OUT, Invalid): (OUT, [INVALID]),
    (OUT, Overdue): (OUT, []),
    (OUT, Ended): (OUT, []),
    (OUT, Doubted): (OUT, []),
}


def in_state(state: SessionState, wire: Wire = "v2") -> Session:
    """A session that came into this state by messages, holding ONE where that is possible."""
    one = session(wire)
    if state is NEW:
        return one
    for event in (Secret("ann"), Admitted("ann"), subscribe(ONE), Secret("bob", ref=9)):
        one.receive(event)
    if state is IN:
        one.receive(Admitted("bob"))
    elif state is DOUBTED:
        for outcome in (Admitted("bob"), Doubted(), BUSY_NOW):
            one.receive(outcome)
    elif state is OUT:
        one.receive(Refused())
    return one


def test_every_row_has_its_test():
    """The rows below are exactly those of the table."""
    assert ROWS.keys() == _TABLE.keys()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0].value}-{row[1].__name__}")
def test_row(row: tuple[SessionState, type]):
    """Each row of the table leads to these effects and this state, on classic to the same without answers."""
    state, kind = row
    expected_state, expected = ROWS[row]
    one = in_state(state)
    assert one.state is state
    assert one.receive(EVENTS[kind]) == expected
    assert one.state is expected_state
    silent = in_state(state, "classic")
    assert silent.receive(EVENTS[kind]) == [one for one in expected if not isinstance(one, Answer)]
    assert silent.state is expected_state


KEYS = st.sampled_from([ONE, TWO, EntityKey("items", "3"), EntityKey("items", "bad"), EntityKey("no", "1")])
MAKERS: list[Callable[[EntityKey, int], Upward]] = [
    lambda key, ref: subscribe(key, ref=ref),
    lambda key, ref: Unsubscribe((Wanted(*key),), ref=ref),
    lambda _key, ref: Secret("x", ref=ref),
    lambda _key, ref: Pass(b"1", ref=ref),
    lambda _key, ref: Resync(1, 1, ref=ref),
    lambda _key, ref: Ping(ref=ref),
    lambda _key, ref: Invalid("bad_frame", "x", ref=ref),
]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(MAKERS), KEYS, st.booleans()), max_size=40))
def test_any_conversation(script: list[tuple[Callable[[EntityKey, int], Upward], EntityKey, bool]]):
    """Whatever is said in whatever order, each message is answered once, in order, and classic never."""
    one, silent = session(), session("classic")
    effects: list[Effect] = []
    for ref, (make, key, is_admitted) in enumerate(script):
        message = make(key, ref)
        effects += one.receive(message)
        assert answers(silent.receive(message)) == []
        if is_admitted and one.state is BUSY:
            effects += one.receive(Admitted("x"))
            assert answers(silent.receive(Admitted("x"))) == []
    while one.state is BUSY:
        effects += one.receive(Refused())
        assert answers(silent.receive(Refused())) == []
    answered = [
        effect.ref if isinstance(effect, Deliver | Repeat) else effect.message.ref  # type: ignore[union-attr]
        for effect in effects
        if isinstance(effect, Deliver | Repeat)
        or (isinstance(effect, Answer) and not isinstance(effect.message, Denied))
    ]
    assert answered == list(range(len(script)))
    assert list(one.keys) == list(silent.keys)


@settings(deadline=None)
@given(
    st.text()
    | st.from_regex(
        r'\{"action":"(subscribe|ping|secret|message|x)","ref":-?[0-9]{1,40}[,}].*', fullmatch=True
    )
)
def test_any_frame_has_answers_that_encode(text: str):
    """Whatever a client sends, every answer to it can be encoded."""
    one = admitted()
    for message in v2.decode(text):
        for answer in answers(one.receive(message)):
            assert v2.encode(answer)
        if one.state is BUSY:
            one.receive(Admitted("x"))


def test_wrong_keys_beyond_what_is_answered_each():
    """Of a hundred each is answered; of more the ack has a hundred, and one error follows for the rest."""
    wrong = [EntityKey("items", "bad")] * 100
    one = admitted()
    assert len(answers(one.receive(subscribe(*wrong)))) == 1
    effects = one.receive(subscribe(*wrong, EntityKey("items", "bad"), ONE))
    ack, error = answers(effects)
    assert len(ack.failed) == 100
    assert error == Error(code="bad_frame", text="1 more keys are wrong", retryable=False)
    assert effects[:2] == [Answer(ack), Answer(error)]
    assert isinstance(effects[2], Watch)


def test_every_key_of_one_who_is_refused():
    """Each is denied, however many one subscribe names."""
    one = session()
    one.receive(Secret("bad"))
    one.receive(Refused())
    denied = answers(one.receive(subscribe(ONE, TWO)))[1:]
    assert [(each.entity, each.id) for each in denied] == [tuple(ONE), tuple(TWO)]


def test_the_first_question_that_has_no_answer():
    """It is the client's own, though it said no secret: it is refused for now, and not asked again."""
    one = session()
    one.receive(subscribe(ONE))
    one.receive(BUSY_NOW)
    assert one.state is SessionState.REFUSED
