from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from services.demo import dataset
from services.demo.dataset import niches, people

pytestmark = pytest.mark.slow

NOW = datetime(2026, 5, 4, 15, 30, tzinfo=UTC)
PAIRS = [(niche, profile_type) for niche in dataset.NICHES for profile_type in dataset.PROFILE_TYPES]
SENTIMENT_OF_RATING = {1: "negative", 2: "negative", 3: "neutral", 4: "positive", 5: "positive"}

Sample = tuple[list[dataset.ContentItem], list[dataset.Interaction]]


def sample(niche: str, profile_type: str, seed: int = 11, content: int = 60, interactions: int = 2_000) -> Sample:
    spec = dataset.Spec(
        profile_type=profile_type,
        niche=niche,
        content_count=content,
        interaction_count=interactions,
        seed=seed,
        now=NOW,
    )
    items = dataset.content(spec)
    rows = [row for chunk in range(-(-interactions // 1_000)) for row in dataset.interactions(spec, items, chunk)]
    return items, rows


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: "-".join(pair))
def world(request: pytest.FixtureRequest) -> tuple[tuple[str, str], Sample]:
    niche, profile_type = request.param
    return (niche, profile_type), sample(niche, profile_type)


@pytest.fixture(scope="module")
def crowd() -> list[dataset.Interaction]:
    return [row for niche, profile_type in PAIRS for row in sample(niche, profile_type, seed=5)[1]]


def test_texts_are_complete_and_of_plausible_length(world: tuple[tuple[str, str], Sample]) -> None:
    items, rows = world[1]
    for text in [
        *(item.title for item in items),
        *(row.text for row in rows),
        *(r.reply_text for r in rows if r.replied),
    ]:
        assert text is not None
        assert 2 <= len(text) <= 500
        assert text == text.strip()
        assert not re.search(r"[{}\[\]|]|  | ,|\.\.|\ba (a|e|i|o(?!n))[a-z]", text), text


def test_texts_are_mostly_distinct(world: tuple[tuple[str, str], Sample]) -> None:
    _, rows = world[1]
    assert len({row.text for row in rows}) >= 0.9 * len(rows)


def test_titles_are_distinct(world: tuple[tuple[str, str], Sample]) -> None:
    items, _ = world[1]
    assert len({item.title for item in items}) == len(items)


def test_texts_talk_about_the_niche(world: tuple[tuple[str, str], Sample]) -> None:
    key, (_, rows) = world
    groups = niches.WORLDS[key].groups
    vocabulary = {word.lower() for group in groups for word in (group.ref, *group.aspects, *group.subject_names())}
    on_topic = sum(any(word in row.text.lower() for word in vocabulary) for row in rows)
    assert on_topic >= 0.7 * len(rows)


def test_comments_name_the_subject_of_their_own_item(world: tuple[tuple[str, str], Sample]) -> None:
    key, (items, rows) = world
    names = {name.lower() for group in niches.WORLDS[key].groups for name in group.subject_names()}
    certificate = sum(
        name in items[row.content_position].title.lower()
        for row in rows
        for name in names
        if f"the {name} " in row.text
    )
    named = sum(f"the {name} " in row.text for row in rows for name in names)
    assert certificate >= 0.95 * named


def test_ratings_and_sentiments_agree(world: tuple[tuple[str, str], Sample]) -> None:
    items, rows = world[1]
    for row in rows:
        assert row.platform == items[row.content_position].platform
        if row.kind == "review":
            assert row.rating is not None
            assert row.sentiment == SENTIMENT_OF_RATING[row.rating]
        else:
            assert row.kind in {"comment", "mention"}
            assert row.rating is None
            assert row.sentiment in {"positive", "neutral", "negative"}


def test_harsh_words_never_come_with_praise(crowd: list[dataset.Interaction]) -> None:
    harsh = re.compile(r"\b(never again|avoid\.|letdown|waste|overrated|regretted|refund)", re.IGNORECASE)
    glad = re.compile(r"\b(highly recommended|five stars|10/10|love it|top notch|would buy again)", re.IGNORECASE)
    assert not [row.text for row in crowd if row.sentiment == "positive" and harsh.search(row.text)]
    assert not [row.text for row in crowd if row.sentiment == "negative" and glad.search(row.text)]


def test_nothing_happens_before_publication_or_after_now(world: tuple[tuple[str, str], Sample]) -> None:
    items, rows = world[1]
    assert all(NOW - timedelta(days=181) <= item.published_at < NOW for item in items)
    assert all(items[row.content_position].published_at <= row.occurred_at <= NOW for row in rows)
    assert max(item.published_at for item in items) > NOW - timedelta(days=10)
    assert min(item.published_at for item in items) < NOW - timedelta(days=160)


def test_moods_lie_within_bounds(crowd: list[dataset.Interaction]) -> None:
    share = {mood: count / len(crowd) for mood, count in Counter(row.sentiment for row in crowd).items()}
    assert 0.60 <= share["positive"] <= 0.70
    assert 0.10 <= share["negative"] <= 0.18


def test_kinds_suit_the_profile(world: tuple[tuple[str, str], Sample]) -> None:
    (_, profile_type), (_, rows) = world
    reviews = sum(row.kind == "review" for row in rows) / len(rows)
    low, high = {"creator": (0.0, 0.25), "brand": (0.08, 0.7), "local_business": (0.25, 0.9)}[profile_type]
    assert low <= reviews <= high
    assert any(row.kind == "mention" for row in rows)


def test_popularity_has_a_long_tail() -> None:
    items, rows = sample("gaming", "creator", content=500, interactions=5_000)
    views = sorted((item.views for item in items), reverse=True)
    assert sum(views[:50]) > 0.3 * sum(views)
    assert views[0] > 10 * views[250]
    assert all(0 <= item.likes <= item.views for item in items)
    likes = sorted(row.likes for row in rows)
    assert likes[len(likes) // 2] <= 2 < likes[-1]


def test_reactions_cluster_after_publication() -> None:
    items, rows = sample("food", "creator")
    early = sum(row.occurred_at - items[row.content_position].published_at < timedelta(days=7) for row in rows)
    assert 0.5 * len(rows) < early < 0.98 * len(rows)


def test_days_and_weeks_have_a_rhythm(crowd: list[dataset.Interaction]) -> None:
    hours = Counter(row.occurred_at.hour for row in crowd)
    weekdays = Counter(row.occurred_at.weekday() for row in crowd)
    assert sum(hours[hour] for hour in (18, 19, 20, 21)) > 3 * sum(hours[hour] for hour in (1, 2, 3, 4))
    assert weekdays[5] + weekdays[6] > weekdays[1] + weekdays[2]


def test_old_interactions_are_answered_and_recent_complaints_wait(crowd: list[dataset.Interaction]) -> None:
    old = [row.replied for row in crowd if NOW - row.occurred_at > timedelta(days=30)]
    fresh = [row.replied for row in crowd if row.sentiment == "negative" and NOW - row.occurred_at < timedelta(days=3)]
    assert sum(old) > 0.8 * len(old)
    assert 0.1 * len(fresh) < sum(fresh) < 0.6 * len(fresh)
    assert all((row.reply_text is not None) == row.replied for row in crowd)


def test_the_community_is_large_and_its_handles_are_plain() -> None:
    community = people.community()
    assert len({person.name for person in community}) >= 5_000
    assert len({person.handle for person in community}) >= 5_000
    assert all(re.fullmatch(r"[a-z0-9._]{3,40}", person.handle) for person in community)
