"""The server that is measured, in a process of its own: ``python -m benchmarks.application DOOR``.

It changes a row on request and says in the row when it did, on the clock that all processes of a
machine share, so that a reader can tell how long the change took to reach it.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from typing import Any

from entity_sync import ClientMessage, EntitySync, Settings
from entity_sync.server import standalone

PATH = "/ws/entity-sync/"
sync = EntitySync("memory://benchmark", settings=Settings(max_connections=20_000))
state: dict[str, Any] = {"n": 0, "at": 0, "size": 300, "loads": 0, "delay": 0.0}


@sync.entity("rows")
async def row(_id: str) -> dict[str, Any]:
    """One row of about ``size`` bytes."""
    state["loads"] += 1
    if state["delay"]:
        await asyncio.sleep(state["delay"])
    return {"at": state["at"], "n": state["n"], "pad": "x" * (state["size"] - 60)}


@sync.on_message
async def control(message: ClientMessage) -> dict[str, Any]:
    """Change the row ``count`` times, ``interval`` seconds apart, and say what it cost."""
    body = message.json()
    state.update({name: value for name, value in body.items() if name in state})
    loads, cpu, started = state["loads"], time.process_time(), time.perf_counter()
    for _ in range(body.get("count", 0)):
        state["n"] += 1
        state["at"] = time.monotonic_ns()
        await row.notify(body.get("id", "1"))
        await asyncio.sleep(body.get("interval", 0.0))
    return {
        "n": state["n"],
        "loads": state["loads"] - loads,
        "cpu": time.process_time() - cpu,
        "seconds": time.perf_counter() - started,
        "rss": _resident(),
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _resident() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - read at once, nothing is joined
        return int(file.read().split()[1]) * resource.getpagesize()


def main() -> None:
    """Serve through the door that the command line names, and print where."""
    door = sys.argv[1]
    if door.startswith("direct"):
        standalone.run(sync, port=0, path=PATH, uvloop=door == "direct-uvloop", on_ready=_ready)
    else:
        asyncio.run(_serve_asgi())


async def _serve_asgi() -> None:
    import uvicorn
    from starlette.applications import Starlette

    app = Starlette(lifespan=sync.lifespan)
    app.mount(PATH.rstrip("/"), sync)
    config = uvicorn.Config(
        app,
        port=0,
        log_level="error",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await serving


def _ready(listener: standalone.Listener) -> None:
    print(listener.port, flush=True)


if __name__ == "__main__":
    main()
