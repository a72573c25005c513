"""The doors: one session implementation behind an ASGI application and a listener of our own."""
