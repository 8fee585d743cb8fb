"""The shapes of what demo mode shows: numbers, content items, interactions."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

Kind = Literal["comment", "review", "mention"]
Sentiment = Literal["positive", "neutral", "negative"]
Order = Literal["newest", "most_viewed"]


class ContentItem(BaseModel):
    """Something that people interact with."""

    content_id: str
    platform: str = Field(examples=["youtube"])
    title: str
    published_at: str | None
    views: int
    likes: int
    interaction_count: int


class Content(BaseModel):
    """A page of content items."""

    content: list[ContentItem]
    next_page_token: str = Field(description="Empty on the last page.")


class Author(BaseModel):
    """Who wrote it."""

    name: str
    handle: str


class ContentReference(BaseModel):
    """What it is about."""

    content_id: str
    title: str


class Interaction(BaseModel):
    """A comment, review or mention."""

    interaction_id: str
    kind: Kind
    platform: str
    author: Author
    text: str
    rating: int | None = Field(description="1 to 5; only for reviews.")
    sentiment: Sentiment
    replied: bool
    reply_text: str | None
    needs_reply: bool
    occurred_at: str | None
    likes: int
    content: ContentReference


class Interactions(BaseModel):
    """A page of interactions, newest first."""

    interactions: list[Interaction]
    next_page_token: str = Field(description="Empty on the last page.")


class SentimentCounts(BaseModel):
    """Interactions by sentiment."""

    positive: int
    neutral: int
    negative: int


class DayCount(BaseModel):
    """Interactions of one day (UTC)."""

    date: str = Field(examples=["2026-11-23"])
    count: int
    sentiment: SentimentCounts


class Dashboard(BaseModel):
    """The dashboard's numbers; all zero unless demo mode is enabled."""

    demo: bool
    content_count: int
    interaction_count: int
    average_rating: float | None
    rating_counts: dict[Literal["1", "2", "3", "4", "5"], int]
    response_rate: float | None = Field(description="0 to 1.")
    needs_reply: int
    sentiment: SentimentCounts
    views: int
    likes: int
    interactions_per_day: list[DayCount] = Field(description="The last 30 days, oldest first.")
    computed_at: str | None
