"""The content items of a data set: what was posted where, and how it did."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import NamedTuple

from services.demo.dataset import grammar, popularity, timeline
from services.demo.dataset.niches import WORLDS, Group, World
from services.demo.dataset.persona import PLATFORMS
from services.demo.dataset.spec import Spec

_LISTINGS = {
    "brand": ("{name}", "{name} – customer reviews", "{name}: rated by buyers", "Reviews of the {name}"),
    "local_business": ("{name}", "{name} – photos and reviews", "{name}: what people say", "{name}: good to know"),
}
_LISTING_PLATFORMS = frozenset({"google", "trustpilot"})
_TAGGED_PLATFORMS = frozenset({"instagram", "tiktok"})


class ContentItem(NamedTuple):
    """One post, video or listing; `published_at` is in UTC."""

    position: int
    platform: str
    title: str
    published_at: datetime
    views: int
    likes: int


class Subject(NamedTuple):
    """What the item at a position is about; `group` counts the groups of the world."""

    group: int
    name: str


def content(spec: Spec) -> list[ContentItem]:
    """All items, oldest first, at positions 0..content_count-1; no two share a title."""
    rng = spec.rng("content")
    world = WORLDS[spec.niche, spec.profile_type]
    platforms = PLATFORMS[spec.profile_type]
    now = int(spec.now.timestamp())
    times = timeline.publish_times(now, spec.content_count, rng)
    views = popularity.spread_views(spec.profile_type, [now - at for at in times], spec.interaction_count, rng)
    platform_names = rng.choices(tuple(platforms), weights=tuple(platforms.values()), k=spec.content_count)
    titles = _Titles(spec, world)
    return [
        ContentItem(
            position,
            platform,
            titles.make(subject, platform),
            datetime.fromtimestamp(times[position], UTC),
            views[position],
            popularity.likes_of(platform, views[position], rng),
        )
        for position, (subject, platform) in enumerate(zip(subjects(spec), platform_names, strict=True))
    ]


def subjects(spec: Spec) -> tuple[Subject, ...]:
    """Return the subject of each position. The comments of an item need it as well."""
    return _choose_subjects(spec.profile_type, spec.niche, spec.seed, spec.content_count)


@functools.lru_cache(maxsize=8)
def _choose_subjects(profile_type: str, niche: str, seed: int, count: int) -> tuple[Subject, ...]:
    rng = Spec(
        profile_type=profile_type, niche=niche, seed=seed, content_count=count, interaction_count=0, now=_ANY_TIME
    ).rng("subjects")
    groups = WORLDS[niche, profile_type].groups
    names = [group.subject_names() for group in groups]
    for pool in names:
        rng.shuffle(pool)
    used = [0] * len(groups)
    topics = []
    for group in rng.choices(range(len(groups)), k=count):
        topics.append(Subject(group, names[group][used[group] % len(names[group])]))
        used[group] += 1
    return tuple(topics)


_ANY_TIME = datetime.fromtimestamp(0, UTC)


class _Titles:
    """Hands out titles, none twice."""

    def __init__(self, spec: Spec, world: World) -> None:
        self._rng = spec.rng("titles")
        self._world = world
        self._listings = _LISTINGS.get(spec.profile_type, ())
        self._used_titles: set[str] = set()
        self._queues: dict[tuple[str, tuple[str, ...]], list[str]] = {}

    def make(self, subject: Subject, platform: str) -> str:
        group = self._world.groups[subject.group]
        patterns = self._patterns(group, platform)
        titles = [
            grammar.capitalised(grammar.correct_articles(pattern.format(name=subject.name))) for pattern in patterns
        ]
        fresh = next((title for title in titles if title not in self._used_titles), None)
        title = fresh or self._numbered(titles[0])
        self._used_titles.add(title)
        if platform in _TAGGED_PLATFORMS:
            title = " ".join((title, *self._rng.sample(self._world.tags, self._rng.randrange(3))))
        return title

    def _patterns(self, group: Group, platform: str) -> list[str]:
        """Return the patterns of the group, the least recently used first."""
        bank = self._listings if platform in _LISTING_PLATFORMS and self._listings else group.titles
        queue = self._queues.setdefault((group.ref, bank), self._rng.sample(bank, len(bank)))
        queue.append(queue.pop(0))
        return queue[-1:] + queue[:-1]

    def _numbered(self, title: str) -> str:
        number = 2
        while f"{title} (part {number})" in self._used_titles:
            number += 1
        return f"{title} (part {number})"
