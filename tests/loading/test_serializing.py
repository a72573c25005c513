"""Serializing that fails is told with its reason, and tried again where the application's code raised it."""

from __future__ import annotations

from typing import Any

import pydantic
import pydantic.dataclasses
import pytest

from entity_sync import EntitySync, Row
from entity_sync.errors import LoadFailed
from entity_sync.loading.rows import Collector, collected
from entity_sync.loading.slices import at_once
from entity_sync.loading.values import loaded_row
from entity_sync.model import EntityKey
from entity_sync.testing import FakeClock, connect


class Coloured(pydantic.BaseModel):
    id: int

    @pydantic.field_serializer("id")
    def colour(self, id: int) -> str:
        raise KeyError("colour")


class Refusing(pydantic.BaseModel):
    id: int

    @pydantic.field_serializer("id")
    def colour(self, id: int) -> str:
        raise ValueError("no such colour")


class Mean(pydantic.BaseModel):
    of: list[int]

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def mean(self) -> float:
        return sum(self.of) / len(self.of)


class Overridden(pydantic.BaseModel):
    def model_dump(self, **_options: Any) -> dict[str, Any]:
        raise OSError("no database")


@pydantic.dataclasses.dataclass
class Plain:
    id: int

    @pydantic.field_serializer("id")
    def colour(self, id: int) -> str:
        raise KeyError("colour")


class Binary(pydantic.BaseModel):
    data: bytes


@pytest.mark.parametrize(
    ("value", "text", "cause"),
    [
        (Coloured(id=1), "the value is a Coloured: its model_dump raised KeyError: 'colour'", KeyError),
        ({"x": Refusing(id=1)}, r"field 'x' is a Refusing: .* ValueError: no such colour", ValueError),
        ([Mean(of=[])], "is a Mean: its model_dump raised ZeroDivisionError: ", ZeroDivisionError),
        (Overridden(), "its model_dump raised OSError: no database", OSError),
        ({"x": [Plain(1)]}, r"field 'x\[0\]' is a Plain: its serialization raised KeyError", KeyError),
        (Row("users", 5, Coloured(id=1)), "row users/'5': the value is a Coloured: .* KeyError", KeyError),
    ],
    ids=["itself", "within", "computed", "overridden", "dataclass", "row"],
)
def test_what_the_application_raised(value: object, text: str, cause: type[Exception]):
    """It is the failure's cause, and the load may be tried again, like one whose loader raised it."""
    into = Collector(EntityKey("items", "1"), lambda entity, id: EntityKey(entity, str(id)))
    with pytest.raises(LoadFailed, match=text) as caught:
        at_once(collected(value, into))
    assert caught.value.retryable
    assert type(caught.value.__cause__) is cause


@pytest.mark.parametrize(
    "value", [Binary(data=b"\xff"), {"x": Binary(data=b"\xff")}], ids=["itself", "within"]
)
def test_a_value_that_pydantic_cannot_send(value: object):
    """It will be no other the next time: the reason is told, and only a change leads to a load."""
    with pytest.raises(LoadFailed, match="a Binary: its model_dump raised UnicodeDecodeError") as caught:
        loaded_row(value)
    assert not caught.value.retryable
    assert type(caught.value.__cause__) is UnicodeDecodeError


async def test_it_is_tried_again():
    """A serializer that fails once keeps nobody without the state."""
    fails = [True]

    class Sometimes(pydantic.BaseModel):
        id: int

        @pydantic.field_serializer("id")
        def lookup(self, id: int) -> int:
            if fails:
                fails.pop()
                raise TimeoutError("names")
            return id

    clock = FakeClock()
    sync = EntitySync(clock=clock)

    @sync.entity("items")
    async def item(id: str) -> Sometimes:
        return Sometimes(id=7)

    async with sync, connect(sync) as client:
        await client.subscribe("items", "1")
        await clock.advance(5)
        assert [message["rows"] for message in client.pending() if "rows" in message] == [
            [{"data": {"id": 7}}]
        ]
