"""Queries of one generation's rows: pages and numbers. The caller has checked that the generation is visible."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.demo import read_models
from services.demo.schema import content, interactions

_waits = sa.and_(interactions.c.sentiment == "negative", sa.not_(interactions.c.replied))


async def list_content(
    conn: AsyncConnection,
    owner_id: UUID,
    generation: int,
    *,
    order: read_models.Order,
    before: tuple[datetime | int, int] | None,
    limit: int,
) -> list[read_models.Content]:
    """Read content items, the newest or most viewed first, that come after the position `before`."""
    key = content.c.published_at if order is read_models.Order.NEWEST else content.c.views
    about = sa.select(sa.func.count()).where(
        interactions.c.owner_id == owner_id,
        interactions.c.generation == generation,
        interactions.c.content_position == content.c.position,
    )
    columns = [column for column in content.c if column is not content.c.owner_id]
    statement = (
        sa.select(*columns, about.scalar_subquery().label("interaction_count"))
        .where(content.c.owner_id == owner_id, content.c.generation == generation)
        .order_by(key.desc(), content.c.position.desc())
        .limit(limit)
    )
    if before:
        statement = statement.where(sa.tuple_(key, content.c.position) < before)
    return [read_models.Content(**row) for row in (await conn.execute(statement)).mappings()]


async def list_interactions(
    conn: AsyncConnection,
    owner_id: UUID,
    generation: int,
    *,
    filters: read_models.Filters,
    limit: int,
    start: tuple[datetime, int] | None = None,
    is_ascending: bool = False,
) -> list[read_models.Interaction]:
    """Read interactions, newest first or in the opposite order, that come after the position `start`."""
    rows = interactions.c
    key = sa.tuple_(rows.occurred_at, rows.position)
    order = (rows.occurred_at, rows.position) if is_ascending else (rows.occurred_at.desc(), rows.position.desc())
    statement = _with_titles(owner_id, generation).order_by(*order).limit(limit)
    if filters.kind:
        statement = statement.where(rows.kind == filters.kind)
    if filters.sentiment:
        statement = statement.where(rows.sentiment == filters.sentiment)
    if filters.needs_reply:
        statement = statement.where(_waits)
    if filters.content:
        statement = statement.where(rows.generation == filters.content[0], rows.content_position == filters.content[1])
    if filters.day:
        begin = datetime.combine(filters.day, time(), UTC)
        statement = statement.where(
            rows.occurred_at >= begin, rows.occurred_at < begin + timedelta(days=filters.day_count)
        )
    if start:
        statement = statement.where(key > start if is_ascending else key < start)
    return [read_models.Interaction(**row) for row in (await conn.execute(statement)).mappings()]


async def list_written(
    conn: AsyncConnection, owner_id: UUID, generation: int, limit: int
) -> list[read_models.Interaction]:
    """Read the interactions that were written last, the newest first."""
    statement = _with_titles(owner_id, generation).order_by(interactions.c.position.desc()).limit(limit)
    return [read_models.Interaction(**row) for row in (await conn.execute(statement)).mappings()]


def _with_titles(owner_id: UUID, generation: int) -> sa.Select[Any]:
    """Select interactions with the titles of what they are about."""
    rows = interactions.c
    # A subquery rather than a join: it is run for the rows of the page only, even while the planner has no statistics of
    # rows that were just written and would join first and sort then.
    title = sa.select(content.c.title).where(
        content.c.owner_id == rows.owner_id,
        content.c.generation == rows.generation,
        content.c.position == rows.content_position,
    )
    columns = [column for column in rows if column is not rows.owner_id]
    return sa.select(*columns, title.scalar_subquery().label("content_title")).where(
        rows.owner_id == owner_id, rows.generation == generation
    )


async def read_dashboard(conn: AsyncConnection, owner_id: UUID, generation: int) -> read_models.Dashboard:
    """Count the rows of a generation, all of them in two passes."""
    items = (await conn.execute(_content_numbers(owner_id, generation))).one()
    groups = (await conn.execute(_interaction_groups(owner_id, generation))).all()
    now: datetime = (await conn.execute(sa.select(sa.func.now()))).scalar_one()
    ratings = {rating: sum(g.number for g in groups if g.rating == rating) for rating in range(1, 6)}
    reviews = sum(ratings.values())
    total = sum(g.number for g in groups)
    return read_models.Dashboard(
        is_demo=True,
        content_count=items.number,
        interaction_count=total,
        average_rating=sum(rating * number for rating, number in ratings.items()) / reviews if reviews else None,
        rating_counts=ratings,
        response_rate=sum(g.number for g in groups if g.replied) / total if total else None,
        needs_reply_count=sum(g.number for g in groups if g.sentiment == "negative" and not g.replied),
        sentiment_counts={
            name: sum(g.number for g in groups if g.sentiment == name) for name in read_models.SENTIMENTS
        },
        views=items.views,
        likes=items.likes,
        interactions_per_day=_per_day(groups, now),
        computed_at=now,
    )


def empty_dashboard(now: datetime) -> read_models.Dashboard:
    """Return the numbers of an owner without visible rows."""
    return read_models.Dashboard(
        is_demo=False,
        rating_counts=dict.fromkeys(range(1, 6), 0),
        sentiment_counts=dict.fromkeys(read_models.SENTIMENTS, 0),
        interactions_per_day=_per_day([], now),
        computed_at=now,
    )


def _content_numbers(owner_id: UUID, generation: int) -> sa.Select[int, int, int]:
    def total(column: sa.Column[int]) -> sa.ColumnElement[int]:
        # sum() of bigints is numeric; the protos' numbers are not.
        return sa.cast(sa.func.coalesce(sa.func.sum(column), 0), sa.BigInteger)

    return sa.select(
        sa.func.count().label("number"),
        total(content.c.views).label("views"),
        total(content.c.likes).label("likes"),
    ).where(content.c.owner_id == owner_id, content.c.generation == generation)


def _interaction_groups(owner_id: UUID, generation: int) -> sa.Select[int | None, str, bool, date | None, int]:
    # One pass counts the few combinations of these columns; they are added up here.
    day = sa.cast(sa.func.timezone("UTC", interactions.c.occurred_at), sa.Date)
    recent = interactions.c.occurred_at >= sa.func.now() - timedelta(days=read_models.DAYS + 1)
    columns = (
        interactions.c.rating,
        interactions.c.sentiment,
        interactions.c.replied,
        sa.case((recent, day), else_=None).label("day"),
    )
    return (
        sa.select(*columns, sa.func.count().label("number"))
        .where(interactions.c.owner_id == owner_id, interactions.c.generation == generation)
        .group_by(*columns)
    )


def _per_day(groups: Sequence[sa.Row[int | None, str, bool, date | None, int]], now: datetime) -> list[read_models.Day]:
    today = now.astimezone(UTC).date()
    days = [today - timedelta(days=ago) for ago in range(read_models.DAYS - 1, -1, -1)]
    counts = {day: dict.fromkeys(read_models.SENTIMENTS, 0) for day in days}
    for group in groups:
        if group.day in counts:
            counts[group.day][group.sentiment] += group.number
    return [
        read_models.Day(date=day, count=sum(by_sentiment.values()), sentiment_counts=by_sentiment)
        for day, by_sentiment in counts.items()
    ]
