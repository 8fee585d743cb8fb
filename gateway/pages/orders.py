"""The order of a list, as its address names it."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request

ORDERS: Mapping[str, str] = {"": "Newest first", "oldest": "Oldest first"}


def order_of(request: Request) -> str:
    """Return the order that an address names; empty for the newest first."""
    return "oldest" if request.query_params.get("order") == "oldest" else ""
