"""The data of demo mode: content items, interactions and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import Field
from typing_extensions import TypedDict

from gateway.views import derive
from repruv.demo.v1 import demo_pb2, demo_service_pb2

InteractionKind = Literal["comment", "review", "mention"]
Sentiment = Literal["positive", "neutral", "negative"]
INTERACTION_KINDS: tuple[InteractionKind, ...] = get_args(InteractionKind)
Rating = Literal["1", "2", "3", "4", "5"]
RATINGS: tuple[Rating, ...] = get_args(Rating)
SENTIMENTS: tuple[Sentiment, ...] = get_args(Sentiment)


class ContentItem(TypedDict):
    """Something that people interact with."""

    content_id: str
    platform: Annotated[str, Field(examples=["youtube"])]
    title: str
    published_at: str | None
    views: int
    likes: int
    interaction_count: int


class Content(TypedDict):
    """A page of content items."""

    content: list[ContentItem]
    next_page_token: Annotated[str, Field(description="Empty on the last page.")]


class Author(TypedDict):
    """The author of an interaction."""

    name: str
    handle: str


class ContentReference(TypedDict):
    """The content item of an interaction."""

    content_id: str
    title: str


class Interaction(TypedDict):
    """A comment, review or mention."""

    interaction_id: str
    kind: InteractionKind
    platform: str
    author: Author
    text: str
    rating: Annotated[int | None, Field(description="1 to 5; only for reviews.")]
    sentiment: Sentiment
    replied: bool
    reply_text: str | None
    needs_reply: bool
    occurred_at: str | None
    likes: int
    content: ContentReference


class Interactions(TypedDict):
    """A page of interactions, newest first."""

    interactions: list[Interaction]
    next_page_token: Annotated[str, Field(description="Empty on the last page.")]
    previous_page_token: Annotated[str, Field(description="Empty on the first page.")]


class SentimentCounts(TypedDict):
    """Interactions by sentiment."""

    positive: int
    neutral: int
    negative: int


class DayCount(TypedDict):
    """Interactions of one day (UTC)."""

    date: Annotated[str, Field(examples=["2026-11-23"])]
    count: int
    sentiment: SentimentCounts


class Dashboard(TypedDict):
    """The dashboard's numbers; all zero unless demo mode is enabled."""

    demo: bool
    content_count: int
    interaction_count: int
    average_rating: float | None
    rating_counts: dict[Rating, int]
    response_rate: Annotated[float | None, Field(description="0 to 1.")]
    needs_reply: Annotated[int, derive.Of("needs_reply_count")]
    sentiment: SentimentCounts
    views: int
    likes: int
    interactions_per_day: Annotated[list[DayCount], Field(description="The last `days` days (UTC), oldest first.")]
    computed_at: str | None


content = derive.view(Content, demo_service_pb2.ListContentResponse)
"""Returns a page of content items."""
_interaction = derive.view(
    Interaction,
    demo_pb2.Interaction,
    author=lambda item: {"name": item.author_name, "handle": item.author_handle},
    content=lambda item: {"content_id": item.content_id, "title": item.content_title},
)


interactions = derive.view(
    Interactions,
    demo_service_pb2.ListInteractionsResponse,
    interactions=lambda page: [_interaction(item) for item in page.interactions],
)
"""Returns a page of interactions."""


_day = derive.view(DayCount, demo_service_pb2.DayCount, sentiment=lambda day: _sentiment(day.sentiment_counts))
dashboard = derive.view(
    Dashboard,
    demo_service_pb2.GetDashboardResponse,
    rating_counts=lambda numbers: {rating: numbers.rating_counts.get(int(rating), 0) for rating in RATINGS},
    sentiment=lambda numbers: _sentiment(numbers.sentiment_counts),
    interactions_per_day=lambda numbers: [_day(day) for day in numbers.interactions_per_day],
)
"""Returns the metrics of the dashboard."""


def _sentiment(counts: Mapping[str, int]) -> SentimentCounts:
    return {
        "positive": counts.get("positive", 0),
        "neutral": counts.get("neutral", 0),
        "negative": counts.get("negative", 0),
    }
