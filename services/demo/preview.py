"""An example of what demo mode would show: the same for the same request."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime

from services.demo import dataset, options

CONTENT = 12
INTERACTIONS = 60
EXAMPLES = 3
SEED = 7
# An example is shown without times.
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The profile, and a few content items and interactions."""

    profile: dataset.Profile
    content: tuple[dataset.ContentItem, ...]
    interactions: tuple[dataset.Interaction, ...]


def example(profile_type: str, niche: str) -> Example:
    """Return the example of a profile type and a niche. Raises `InvalidArgument`."""
    options.require_choices(profile_type, niche)
    return _example(*dataset.resolve(profile_type or options.AUTO, niche or options.AUTO, SEED))


@functools.lru_cache(maxsize=len(dataset.PROFILE_TYPES) * len(dataset.NICHES))
def _example(profile_type: str, niche: str) -> Example:
    spec = dataset.Spec(
        profile_type=profile_type,
        niche=niche,
        content_count=CONTENT,
        interaction_count=INTERACTIONS,
        seed=SEED,
        now=NOW,
    )
    items = dataset.content(spec)
    different = {(row.kind, row.sentiment): row for row in dataset.interactions(spec, items, 0)}
    return Example(
        profile=dataset.profile(spec),
        content=tuple(items[:EXAMPLES]),
        interactions=tuple(different.values())[:EXAMPLES],
    )
