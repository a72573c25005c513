"""The pure core: what a node decides, without asyncio, sockets, clocks or randomness."""
