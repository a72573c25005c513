"""The hooks of `BrokerOutageContract`, by a real server."""

from __future__ import annotations

from tests.support.servers import Server

__all__ = ["ServerOutages"]


class ServerOutages:
    """Attributes: the server, set by the test class's fixture."""

    server: Server

    async def stop_broker(self) -> None:
        self.server.kill()

    async def start_broker(self) -> None:
        await self.server.start()

    async def freeze_broker(self) -> None:
        self.server.freeze()

    async def thaw_broker(self) -> None:
        self.server.thaw()
