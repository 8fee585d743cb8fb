"""Reads: rows only while `enabled`, whole pages, and numbers that match an independent count."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, timedelta

import pytest

from chassis import errors
from lifecycle.machine import JobPhase
from services.demo import dataset, handlers, read_models, views
from services.demo.domain import State
from tests.integration.demo.conftest import Crashing, Owner

ANY = read_models.Filters()


async def visible(visible_rows: views.Views, owner: Owner) -> tuple[int, int, bool]:
    """Return the number of rows that each of the three reads shows."""
    content = await visible_rows.list_content(owner.owner_id, order_by="", page_size=100, page_token="")
    page = await visible_rows.list_interactions(owner.owner_id, ANY, page_size=100, page_token="")
    numbers = await visible_rows.dashboard(owner.owner_id)
    assert (numbers.content_count > 0) == numbers.is_demo
    return len(content.content), len(page.interactions), numbers.is_demo


async def test_rows_are_visible_only_while_enabled(owner: Owner, visible_rows: views.Views) -> None:
    nothing = (0, 0, False)
    assert await visible(visible_rows, owner) == nothing
    await owner.enable()
    assert await visible(visible_rows, owner) == nothing
    with pytest.raises(RuntimeError):
        await handlers.enable(owner.dependencies, await owner.context(kind=Crashing))
    assert await owner.counts() == (12, 700)
    assert await visible(visible_rows, owner) == nothing
    assert [row.position for row in await visible_rows.arriving(owner.owner_id, 9)] == [699, 698, 697, 696, 695]
    assert await visible_rows.arriving(owner.owner_id, -1) == ()
    await owner.settle(await owner.update(JobPhase.FAILED))
    assert await visible(visible_rows, owner) == nothing
    assert await visible_rows.arriving(owner.owner_id, 5) == ()
    await handlers.enable(owner.dependencies, await owner.context(attempt=2))
    assert await visible(visible_rows, owner) == (12, 100, True)
    assert await visible_rows.arriving(owner.owner_id, 5) == ()
    await owner.disable()
    assert await owner.counts() == (12, 2_500)
    assert await visible(visible_rows, owner) == nothing
    await handlers.disable(owner.dependencies, await owner.context())
    assert await visible(visible_rows, owner) == nothing


async def test_rows_of_another_generation_are_not_visible(owner: Owner, visible_rows: views.Views) -> None:
    await owner.enabled()
    await owner.write_strays(generation=99)
    assert await visible(visible_rows, owner) == (12, 100, True)


async def test_owners_see_their_own_rows_only(make_owner: Callable[..., Owner], visible_rows: views.Views) -> None:
    await make_owner().enabled(interactions=10)
    assert await visible(visible_rows, make_owner()) == (0, 0, False)


async def pages(
    owner: Owner, visible_rows: views.Views, filters: read_models.Filters, size: int
) -> list[read_models.Interaction]:
    """Every interaction, page by page."""
    interactions: list[read_models.Interaction] = []
    token = ""
    while True:
        page = await visible_rows.list_interactions(owner.owner_id, filters, page_size=size, page_token=token)
        interactions += page.interactions
        token = page.next_page_token
        if not token:
            return interactions
        assert len(page.interactions) == size


@pytest.mark.parametrize(
    "filters",
    [
        ANY,
        read_models.Filters(kind="comment"),
        read_models.Filters(sentiment="negative"),
        read_models.Filters(needs_reply=True),
        read_models.Filters(kind="mention", sentiment="positive"),
        read_models.Filters(content=(1, 3)),
        read_models.Filters(content=(7, 3)),
        read_models.Filters(kind="comment", oldest_first=True),
    ],
    ids=str,
)
async def test_pages_have_every_matching_row_once_and_in_order(
    owner: Owner, visible_rows: views.Views, filters: read_models.Filters
) -> None:
    await owner.enabled(interactions=400)
    items, rows, _ = await owner.asked_for()
    expected = [
        row
        for row in rows
        if filters.kind in {None, row.kind}
        and filters.sentiment in {None, row.sentiment}
        and (not filters.needs_reply or (row.sentiment == "negative" and not row.replied))
        and (filters.content is None or filters.content == (1, row.content_position))
    ]
    expected.sort(key=lambda row: (row.occurred_at, row.position), reverse=not filters.oldest_first)
    interactions = await pages(owner, visible_rows, filters, size=7)
    assert [row.position for row in interactions] == [row.position for row in expected]
    assert all(row.content_title == items[row.content_position].title for row in interactions)


async def test_pages_of_interactions_lead_back(owner: Owner, visible_rows: views.Views) -> None:
    await owner.enabled(interactions=20)
    forward = [await visible_rows.list_interactions(owner.owner_id, ANY, page_size=7, page_token="")]
    while token := forward[-1].next_page_token:
        forward.append(await visible_rows.list_interactions(owner.owner_id, ANY, page_size=7, page_token=token))
    assert [len(page.interactions) for page in forward] == [7, 7, 6]
    assert not forward[0].previous_page_token
    back = [forward[-1]]
    while token := back[-1].previous_page_token:
        back.append(await visible_rows.list_interactions(owner.owner_id, ANY, page_size=7, page_token=token))
    assert [page.interactions for page in back] == [page.interactions for page in reversed(forward)]
    assert back[1].next_page_token
    # A page back from within the first one is the first page, whole.
    third = (await visible_rows.list_interactions(owner.owner_id, ANY, page_size=3, page_token="")).next_page_token
    inside = await visible_rows.list_interactions(owner.owner_id, ANY, page_size=1, page_token=third)
    again = await visible_rows.list_interactions(
        owner.owner_id, ANY, page_size=7, page_token=inside.previous_page_token
    )
    assert again == forward[0]


@pytest.mark.parametrize("order", read_models.Order)
async def test_pages_of_content(owner: Owner, visible_rows: views.Views, order: read_models.Order) -> None:
    await owner.enabled(content=25, interactions=300)
    items, rows, _ = await owner.asked_for()
    about = Counter(row.content_position for row in rows)
    by_views = order is read_models.Order.MOST_VIEWED
    items.sort(key=lambda item: (item.views if by_views else item.published_at, item.position), reverse=True)
    content: list[read_models.Content] = []
    token = ""
    while True:
        page = await visible_rows.list_content(owner.owner_id, order_by=order, page_size=10, page_token=token)
        content += page.content
        token = page.next_page_token
        if not token:
            break
    assert [item.position for item in content] == [item.position for item in items]
    assert [item.interaction_count for item in content] == [about[item.position] for item in items]


async def test_tokens_belong_to_their_filters_and_their_generation(owner: Owner, visible_rows: views.Views) -> None:
    await owner.enabled(interactions=50)
    page = await visible_rows.list_interactions(owner.owner_id, ANY, page_size=5, page_token="")
    content = await visible_rows.list_content(owner.owner_id, order_by="", page_size=5, page_token="")

    async def refused(filters: read_models.Filters, token: str) -> str:
        with pytest.raises(errors.InvalidArgument) as excinfo:
            await visible_rows.list_interactions(owner.owner_id, filters, page_size=5, page_token=token)
        return excinfo.value.field

    assert await refused(read_models.Filters(kind="comment"), page.next_page_token) == "page_token"
    assert await refused(ANY, content.next_page_token) == "page_token"
    assert await refused(ANY, "nonsense") == "page_token"
    assert await refused(ANY, page.next_page_token[:-3]) == "page_token"
    with pytest.raises(errors.InvalidArgument):
        await visible_rows.list_content(
            owner.owner_id, order_by="most_viewed", page_size=5, page_token=content.next_page_token
        )
    await owner.disable()
    ended = await visible_rows.list_interactions(owner.owner_id, ANY, page_size=5, page_token=page.next_page_token)
    assert ended == views.InteractionPage()
    await handlers.disable(owner.dependencies, await owner.context())
    await owner.enabled(interactions=50)
    assert await refused(ANY, page.next_page_token) == "page_token"


async def test_page_sizes(owner: Owner, visible_rows: views.Views) -> None:
    await owner.enabled(interactions=150)
    for requested, arguments in ((0, 20), (100, 100), (5_000, 100), (1, 1)):
        page = await visible_rows.list_interactions(owner.owner_id, ANY, page_size=requested, page_token="")
        assert len(page.interactions) == arguments
    with pytest.raises(errors.InvalidArgument):
        await visible_rows.list_interactions(owner.owner_id, ANY, page_size=-1, page_token="")


@pytest.mark.parametrize("profile_type", dataset.PROFILE_TYPES)
async def test_the_dashboard_agrees_with_a_count_by_hand(
    owner: Owner, visible_rows: views.Views, profile_type: str
) -> None:
    await owner.demo.operations.enable(
        owner.owner_id, profile_type=profile_type, niche="food", content_count=30, interaction_count=3_000, key=""
    )
    await handlers.enable(owner.dependencies, await owner.context())
    items, rows, _ = await owner.asked_for()
    numbers = await visible_rows.dashboard(owner.owner_id)
    ratings = [row.rating for row in rows if row.rating]
    assert numbers.is_demo
    assert (numbers.content_count, numbers.interaction_count) == (30, 3_000)
    assert numbers.average_rating == (pytest.approx(sum(ratings) / len(ratings)) if ratings else None)
    assert numbers.rating_counts == {rating: ratings.count(rating) for rating in range(1, 6)}
    assert numbers.response_rate == pytest.approx(sum(row.replied for row in rows) / 3_000)
    assert numbers.needs_reply_count == sum(row.sentiment == "negative" and not row.replied for row in rows)
    assert numbers.sentiment_counts == Counter(row.sentiment for row in rows)
    assert (numbers.views, numbers.likes) == (sum(item.views for item in items), sum(item.likes for item in items))
    days = Counter((row.occurred_at.astimezone(UTC).date(), row.sentiment) for row in rows)
    today = numbers.computed_at.astimezone(UTC).date()
    expected = [today - timedelta(days=ago) for ago in range(read_models.DAYS - 1, -1, -1)]
    assert [day.date for day in numbers.interactions_per_day] == expected
    for day in numbers.interactions_per_day:
        counts = {name: days[day.date, name] for name in read_models.SENTIMENTS}
        assert (day.sentiment_counts, day.count) == (counts, sum(counts.values()))


async def test_the_dashboard_without_interactions(owner: Owner, visible_rows: views.Views) -> None:
    await owner.enabled(content=3, interactions=0)
    numbers = await visible_rows.dashboard(owner.owner_id)
    assert (numbers.is_demo, numbers.content_count, numbers.interaction_count) == (True, 3, 0)
    assert (numbers.average_rating, numbers.response_rate) == (None, None)
    assert len(numbers.interactions_per_day) == read_models.DAYS


async def test_the_dashboard_is_computed_once_for_several_readers(owner: Owner, visible_rows: views.Views) -> None:
    await owner.enabled(interactions=100)
    first, *others = await asyncio.gather(*(visible_rows.dashboard(owner.owner_id) for _ in range(5)))
    assert all(other is first for other in others)
    assert await visible_rows.dashboard(owner.owner_id) is first


async def test_the_dashboard_is_never_older_than_the_latest_transition(owner: Owner, visible_rows: views.Views) -> None:
    await owner.enabled(interactions=100)
    assert (await visible_rows.dashboard(owner.owner_id)).interaction_count == 100
    await owner.disable()
    assert not (await visible_rows.dashboard(owner.owner_id)).is_demo
    await handlers.disable(owner.dependencies, await owner.context())
    await owner.enabled(interactions=40)
    assert (await visible_rows.dashboard(owner.owner_id)).interaction_count == 40


async def test_dashboard_cache_is_bounded(
    make_owner: Callable[..., Owner], visible_rows: views.Views, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "CACHE_SIZE", 2)
    owners = [make_owner() for _ in range(3)]
    for owner in owners:
        await owner.enabled(content=1, interactions=0)
    first = await visible_rows.dashboard(owners[0].owner_id)
    for owner in owners[1:]:
        await visible_rows.dashboard(owner.owner_id)
    assert await visible_rows.dashboard(owners[0].owner_id) is not first
    assert (await owners[0].mode()).state is State.ENABLED
