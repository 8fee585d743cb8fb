"""Lists: their order, their addresses and the pages before and after the one that is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from starlette.requests import Request

from repruv.auth.v1 import admin_service_pb2
from repruv.jobs.v1 import jobs_service_pb2

PAGE = 50
"""Rows of a page that offers no choice."""
MAX_COUNT = 1_000
ORDERS: Mapping[str, str] = {"": "Newest first", "oldest": "Oldest first"}
"""The orders, as an address names them."""

ListResponse = (
    admin_service_pb2.ListUsersResponse
    | admin_service_pb2.ListSecurityEventsResponse
    | jobs_service_pb2.ListJobsResponse
)


def order_of(request: Request) -> str:
    """Return the order that an address names; empty for the newest first."""
    return "oldest" if request.query_params.get("order") == "oldest" else ""


def address(path: str, filters: Mapping[str, str], page_token: str = "") -> str:
    """Return the address of a page of a list; the first unless a token is given."""
    query = urlencode({name: text for name, text in {**filters, "page_token": page_token}.items() if text})
    return f"{path}?{query}" if query else path


def context(address: Callable[[str], str], page: ListResponse, *, order: str, page_token: str) -> dict[str, object]:
    """Return what the head and the foot of a list show; `address` returns the address of the page of a token."""
    return {
        "orders": ORDERS,
        "order": order,
        "count": page.count,
        "max_count": MAX_COUNT,
        **neighbours(address, page_token, page.previous_page_token, page.next_page_token),
    }


def neighbours(address: Callable[[str], str], page_token: str, previous: str, following: str) -> dict[str, str]:
    """Return the addresses of the first, the previous and the next page; empty without one."""
    return {
        "first": address("") if page_token else "",
        "previous": address(previous) if previous else "",
        "next": address(following) if following else "",
    }
