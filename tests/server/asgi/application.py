"""The application of test_servers.py, mounted in every way."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from entity_sync import ClientMessage, EntitySync, Settings

row: dict[str, Any] = {"n": 0, "pad": ""}
name = f"memory://asgi-{os.getpid()}"
sync = EntitySync(name, origins=["https://app.example"])
big = EntitySync(name, settings=Settings(max_view_bytes=100_000))


@sync.entity("items")
async def item(id: int) -> dict[str, Any]:
    return row


@big.entity("items")
async def big_item(id: int) -> dict[str, Any]:
    return row | {"pad": "xy"[row["n"] % 2] * 65_536}


@sync.on_message
async def echo(message: ClientMessage) -> dict[str, Any]:
    return {"echo": message.json()}


async def change(request: Request) -> PlainTextResponse:
    row["n"] = int(request.path_params["n"])
    await item.notify(1)
    return PlainTextResponse("changed")


@asynccontextmanager
async def lifespan_of_both(_app: Starlette) -> AsyncGenerator[None, None]:
    async with sync, big:
        yield


inner = FastAPI()
inner.mount("/ws", sync)
app = Starlette(
    lifespan=lifespan_of_both,
    routes=[
        Route("/change/{n}", change),
        Mount("/ws/items", app=sync),
        Mount("/other", routes=[Mount("/deep", routes=[Mount("/ws", app=sync)])]),
        Mount("/inner", app=inner),
        Mount("/big", app=big),
    ],
)
