"""Loads the data of pages concurrently; a part whose service is unavailable is shown as missing."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from chassis import errors
from gateway import clients, views
from repruv.demo.v1 import demo_service_pb2

logger = logging.getLogger(__name__)

INTERACTIONS = 8
CONTENT = 6
MAX_ARRIVING = 4
MAX_READS = 3
OLDER_THAN_ANY = -1
"""A version older than any other: an open page fetches its fragment at the first demo event of its stream."""

KINDS = views.INTERACTION_KINDS
SENTIMENTS = views.SENTIMENTS

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionFilter:
    """Filters of a list of interactions; empty: all."""

    kind: str = ""
    sentiment: str = ""
    needs_reply: bool = False
    date: str = ""
    """A day (UTC), `YYYY-MM-DD`."""
    span: int = 1
    """How many days from that one on."""
    order: str = ""
    """`oldest`: the oldest first; empty: the newest."""
    page_token: str = ""

    @property
    def until(self) -> str:
        """The last day, `YYYY-MM-DD`."""
        return (dt.date.fromisoformat(self.date) + dt.timedelta(days=self.span - 1)).isoformat()

    @property
    def is_narrow(self) -> bool:
        return bool(self.kind or self.sentiment or self.needs_reply or self.date or self.page_token)


UNFILTERED = InteractionFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What the dashboard shows."""

    demo: views.Json
    metrics: views.Dashboard | None
    """None while the numbers and lists cannot be read."""
    interactions: list[views.Interaction]
    next: str
    """The token of the page of interactions after this one; empty on the last."""
    previous: str
    """The token of the page before; empty on the first."""
    content: list[views.ContentItem]
    is_narrow: bool
    """Whether the request filters interactions."""

    @property
    def is_of_one_moment(self) -> bool:
        """Whether the parts belong to the same state: rows and numbers exist exactly while demo mode is enabled."""
        if self.metrics is None or self.demo["status"] == "unknown":
            return True
        return (
            (self.demo["status"] == "enabled") == self.metrics["demo"]
            and (self.is_narrow or bool(self.interactions) == bool(self.metrics["interaction_count"]))
            and bool(self.content) == bool(self.metrics["content_count"])
        )


async def demo_status(client: clients.Demo, identity: str, *, arriving: int = 0) -> views.Json:
    """Return the state of demo mode; `unknown` while the demo service does not answer.

    `arriving` is the number of interactions that are shown while the job writes them.
    """
    response = await _if_there(client.get_demo.quick(identity, arriving_count=arriving))
    if response is None:
        return _unknown_status()
    status = views.demo_status(response.demo, response.job if response.HasField("job") else None)
    written = demo_service_pb2.ListInteractionsResponse(interactions=response.arriving)
    return {
        **status,
        "estimated_finish_at": views.optional_time(response.job.progress, "estimate_time"),
        "arriving": views.interactions(written)["interactions"],
    }


async def connections(client: clients.Connections, identity: str) -> list[views.Connection] | None:
    """Return the connections to platforms; None while auth does not answer."""
    response = await _if_there(client.list_connections.quick(identity))
    return None if response is None else [views.connection(connection) for connection in response.connections]


async def overview(
    client: clients.Demo, identity: str, filters: InteractionFilter = UNFILTERED, *, days: int = 30
) -> Overview:
    """Read what the dashboard shows, with numbers of `days` days, again if a transition came between.

    Raises `InvalidArgument` for a foreign page.
    """
    result = await _overview(client, identity, filters, days)
    for _ in range(MAX_READS - 1):
        if result.is_of_one_moment:
            break
        result = await _overview(client, identity, filters, days)
    if result.metrics is None or not result.is_of_one_moment:
        result.demo["version"] = OLDER_THAN_ANY
    return result


async def _overview(client: clients.Demo, identity: str, filters: InteractionFilter, days: int) -> Overview:
    latest = demo_service_pb2.ListInteractionsRequest(
        page_size=INTERACTIONS,
        page_token=filters.page_token,
        kind=filters.kind,
        sentiment=filters.sentiment,
        needs_reply=filters.needs_reply,
        date=filters.date,
        days=filters.span,
        oldest_first=filters.order == "oldest",
    )
    most_viewed = demo_service_pb2.ListContentRequest(page_size=CONTENT, order_by="most_viewed")
    demo, numbers, interactions, content = await asyncio.gather(
        demo_status(client, identity, arriving=MAX_ARRIVING),
        _if_there(client.get_dashboard.quick(identity, days=days)),
        _if_there(client.list_interactions.send(identity, latest, quick=True)),
        _if_there(client.list_content.send(identity, most_viewed, quick=True)),
    )
    if numbers is None or interactions is None or content is None:
        return Overview(
            demo=demo, metrics=None, interactions=[], next="", previous="", content=[], is_narrow=filters.is_narrow
        )
    return Overview(
        demo=demo,
        metrics=views.dashboard(numbers),
        interactions=views.interactions(interactions)["interactions"],
        next=interactions.next_page_token,
        previous=interactions.previous_page_token,
        content=views.content(content)["content"],
        is_narrow=filters.is_narrow,
    )


async def _if_there(call: Awaitable[T]) -> T | None:
    try:
        return await call
    except (errors.Unavailable, errors.DeadlineExceeded) as error:
        logger.warning("part of a page is not available", extra={"cause": error.code})
        return None


def _unknown_status() -> views.Json:
    return {
        "status": "unknown",
        "demo_mode": False,
        "job_id": None,
        "job_kind": None,
        "job_status": None,
        "progress": None,
        "estimated_finish_at": None,
        "profile": None,
        "error": None,
        "stats": None,
        "version": OLDER_THAN_ANY,
        "enabled_at": None,
        "expires_at": None,
        "message": "",
        "arriving": [],
    }
