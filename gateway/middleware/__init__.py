"""Middleware: one duty a module. Pure ASGI, so that streams are not buffered."""
