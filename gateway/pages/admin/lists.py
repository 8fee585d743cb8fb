"""Order, count and neighbouring pages of the lists of accounts and security events."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from gateway.pages import orders
from repruv.auth.v1 import admin_service_pb2

PAGE = 50
MAX_COUNT = 1_000


def address(path: str, filters: Mapping[str, str], page_token: str = "") -> str:
    """Return the address of a page of the list; the first unless a token is given."""
    query = urlencode({name: text for name, text in {**filters, "page_token": page_token}.items() if text})
    return f"{path}?{query}" if query else path


def context(
    path: str,
    filters: Mapping[str, str],
    page: admin_service_pb2.ListUsersResponse | admin_service_pb2.ListSecurityEventsResponse,
    page_token: str,
) -> dict[str, object]:
    """Return what the head and the foot of a list show."""
    return {
        "orders": orders.ORDERS,
        "order": filters["order"],
        "count": page.count,
        "max_count": MAX_COUNT,
        "first": address(path, filters) if page_token else "",
        "previous": address(path, filters, page.previous_page_token) if page.previous_page_token else "",
        "next": address(path, filters, page.next_page_token) if page.next_page_token else "",
    }
