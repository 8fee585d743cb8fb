"""The read models of demo data: content items, interactions, the dashboard's numbers, and their filters. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from chassis import errors

KINDS = ("comment", "review", "mention")
SENTIMENTS = ("positive", "neutral", "negative")
DAYS = 180
"""The most days that the dashboard covers."""
DEFAULT_DAYS = 30
MAX_FILTER_DAYS = 31
MAX_ARRIVING = 5
"""How many written interactions are shown while demo mode is being enabled."""

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_CONTENT_ID = re.compile(r"c-(\d{1,18})-(\d{1,9})")


class Order(StrEnum):
    """How content is sorted."""

    NEWEST = "newest"
    MOST_VIEWED = "most_viewed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    generation: int
    position: int
    platform: str
    title: str
    published_at: datetime
    views: int
    likes: int
    interaction_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """An interaction, with the title of what it is about."""

    generation: int
    position: int
    content_position: int
    content_title: str
    kind: str
    platform: str
    author_name: str
    author_handle: str
    text: str
    rating: int | None
    sentiment: str
    occurred_at: datetime
    replied: bool
    reply_text: str | None
    likes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which interactions are listed, and in which order; None and False: any, the newest first."""

    kind: str | None = None
    sentiment: str | None = None
    needs_reply: bool = False
    content: tuple[int, int] | None = None
    """Generation and position of a content item."""
    day: date | None = None
    """A day (UTC)."""
    day_count: int = 1
    """How many days from that one on."""
    oldest_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """Interactions of one day (UTC)."""

    date: date
    count: int
    sentiment_counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """Numbers of the visible data; see GetDashboardResponse in the protos."""

    is_demo: bool
    content_count: int = 0
    interaction_count: int = 0
    average_rating: float | None = None
    rating_counts: Mapping[int, int]
    response_rate: float | None = None
    needs_reply_count: int = 0
    sentiment_counts: Mapping[str, int]
    views: int = 0
    likes: int = 0
    interactions_per_day: Sequence[Day]
    computed_at: datetime


def order(value: str) -> Order:
    """Read the order of content. Raises `InvalidArgument`."""
    return Order(_one_of("order_by", value or Order.NEWEST, tuple(Order)))


def filters(
    *,
    kind: str,
    sentiment: str,
    needs_reply: bool,
    content_id: str,
    date: str,
    day_count: int = 1,
    oldest_first: bool = False,
) -> Filters:
    """Read the filters of interactions. Raises `InvalidArgument`."""
    return Filters(
        kind=_one_of("kind", kind, KINDS) if kind else None,
        sentiment=_one_of("sentiment", sentiment, SENTIMENTS) if sentiment else None,
        needs_reply=needs_reply,
        content=_parse_content_id(content_id) if content_id else None,
        day=_parse_day(date) if date else None,
        day_count=_parse_day_count(day_count or 1) if date else 1,
        oldest_first=oldest_first,
    )


def days(value: int) -> int:
    """Return the number of days of a dashboard. Raises `InvalidArgument`."""
    if value < 0:
        raise errors.InvalidArgument("days must not be negative.", field="days")
    return min(value or DEFAULT_DAYS, DAYS)


def content_id(generation: int, position: int) -> str:
    """Return the id of a content item; opaque to readers."""
    return f"c-{generation}-{position}"


def _parse_day(value: str) -> date:
    # date.fromisoformat takes other forms too. The filtered days must end within the calendar.
    try:
        day = date.fromisoformat(value) if _DAY.fullmatch(value) else date.max
    except ValueError:
        day = date.max
    if day.year == date.max.year:
        raise errors.InvalidArgument("date must be a day, YYYY-MM-DD, before the year 9999.", field="date")
    return day


def _parse_day_count(value: int) -> int:
    if not 1 <= value <= MAX_FILTER_DAYS:
        raise errors.InvalidArgument(f"days must be 1 to {MAX_FILTER_DAYS}.", field="days")
    return value


def _parse_content_id(value: str) -> tuple[int, int]:
    if not (match := _CONTENT_ID.fullmatch(value)):
        raise errors.InvalidArgument("content_id must be the id of a content item.", field="content_id")
    return int(match[1]), int(match[2])


def _one_of(field: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise errors.InvalidArgument(f"{field} must be one of {', '.join(allowed)}.", field=field)
    return value
