"""Asking the application who a client is, whatever becomes of the question."""

from __future__ import annotations

import asyncio

import pytest

from entity_sync import ConnectionInfo, Settings
from entity_sync.core.effects import Refused
from entity_sync.hub.admission import admit
from entity_sync.model import ClientMessage
from entity_sync.testing import FakeClock


async def test_question_that_is_cancelled_has_no_answer(caplog: pytest.LogCaptureFixture):
    """The client left, or the node closes: that is no refusal, and nothing to warn of."""
    asked = asyncio.Event()

    async def authenticate(_secret: str | None, _connection: ConnectionInfo) -> str:
        asked.set()
        await asyncio.Event().wait()
        return "ann"

    question = asyncio.create_task(admit(authenticate, None, ConnectionInfo("v2"), Settings(), FakeClock()))
    await asked.wait()
    question.cancel()
    with pytest.raises(asyncio.CancelledError):
        await question
    assert not caplog.records


def test_no_secret_in_the_text_of_a_connection():
    """Query, headers and cookies may hold one: they are not in its repr, nor in that of a message."""
    info = ConnectionInfo("v2", query="token=hush", headers={"a": "hush"}, cookies={"b": "hush"})
    assert "hush" not in repr(info)
    assert "hush" not in repr(ClientMessage(b"1", "hush", info))


async def test_what_the_application_is_asked_and_what_a_failure_says(caplog: pytest.LogCaptureFixture):
    """The secret and the connection; what is no answer is told as such, and may be tried again."""
    clock, info = FakeClock(), ConnectionInfo("v2", query="q")
    asked: list[tuple[str | None, ConnectionInfo]] = []
    answers = asyncio.Event()

    async def authenticate(secret: str | None, connection: ConnectionInfo) -> str:
        asked.append((secret, connection))
        await answers.wait()
        raise OSError("on purpose")

    question = asyncio.create_task(admit(authenticate, "hush", info, Settings(), clock))
    await clock.advance(60)
    late = Refused("busy", "who this is could not be established in time", retryable=True)
    assert await question == late
    assert "authenticate gave no answer: there was none within 10 s" in caplog.text
    answers.set()
    failed = Refused("busy", "who this is could not be established", retryable=True)
    assert await admit(authenticate, "hush", info, Settings(), clock) == failed
    assert asked == [("hush", info)] * 2
