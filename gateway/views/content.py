"""What demo mode shows: content items, interactions and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, cast, get_args

from pydantic import Field
from typing_extensions import TypedDict

from gateway.views import times
from repruv.demo.v1 import demo_service_pb2

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
    """Who wrote it."""

    name: str
    handle: str


class ContentReference(TypedDict):
    """What it is about."""

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
    needs_reply: int
    sentiment: SentimentCounts
    views: int
    likes: int
    interactions_per_day: Annotated[list[DayCount], Field(description="The last 30 days, oldest first.")]
    computed_at: str | None


def content(page: demo_service_pb2.ListContentResponse) -> Content:
    """Return a page of content items."""
    return {
        "content": [
            {
                "content_id": item.content_id,
                "platform": item.platform,
                "title": item.title,
                "published_at": times.optional_time(item, "publish_time"),
                "views": item.views,
                "likes": item.likes,
                "interaction_count": item.interaction_count,
            }
            for item in page.content
        ],
        "next_page_token": page.next_page_token,
    }


def interactions(page: demo_service_pb2.ListInteractionsResponse) -> Interactions:
    """Return a page of interactions."""
    return {
        "interactions": [
            {
                "interaction_id": item.interaction_id,
                "kind": cast("InteractionKind", item.kind),
                "platform": item.platform,
                "author": {"name": item.author_name, "handle": item.author_handle},
                "text": item.text,
                "rating": item.rating if item.HasField("rating") else None,
                "sentiment": cast("Sentiment", item.sentiment),
                "replied": item.replied,
                "reply_text": item.reply_text or None,
                "needs_reply": item.needs_reply,
                "occurred_at": times.optional_time(item, "occur_time"),
                "likes": item.likes,
                "content": {"content_id": item.content_id, "title": item.content_title},
            }
            for item in page.interactions
        ],
        "next_page_token": page.next_page_token,
    }


def dashboard(numbers: demo_service_pb2.GetDashboardResponse) -> Dashboard:
    """Return the metrics of the dashboard."""
    return {
        "demo": numbers.demo,
        "content_count": numbers.content_count,
        "interaction_count": numbers.interaction_count,
        "average_rating": numbers.average_rating if numbers.HasField("average_rating") else None,
        "rating_counts": {rating: numbers.rating_counts.get(int(rating), 0) for rating in RATINGS},
        "response_rate": numbers.response_rate if numbers.HasField("response_rate") else None,
        "needs_reply": numbers.needs_reply_count,
        "sentiment": _sentiment(numbers.sentiment_counts),
        "views": numbers.views,
        "likes": numbers.likes,
        "interactions_per_day": [
            {"date": day.date, "count": day.count, "sentiment": _sentiment(day.sentiment_counts)}
            for day in numbers.interactions_per_day
        ],
        "computed_at": times.optional_time(numbers, "compute_time"),
    }


def _sentiment(counts: Mapping[str, int]) -> SentimentCounts:
    return {
        "positive": counts.get("positive", 0),
        "neutral": counts.get("neutral", 0),
        "negative": counts.get("negative", 0),
    }
