"""How attention is spread: a few items get most of it, and likes follow views."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from services.demo.dataset import timeline

_MEAN_VIEWS = {"creator": 24_000, "brand": 9_000, "local_business": 900}
_VIEWS_PER_INTERACTION = 70  # nobody believes an item with more comments than a few per cent of its views
_SIGMA = 1.15  # of the lognormal: the top tenth of the items draws about half of the views
_LIKE_RATE = {
    "youtube": 0.045,
    "instagram": 0.07,
    "tiktok": 0.09,
    "facebook": 0.025,
    "trustpilot": 0.004,
    "google": 0.006,
}


def spread_views(profile_type: str, ages: Sequence[int], interactions: int, rng: random.Random) -> list[int]:
    """Return the views of items of these ages in seconds. The newest have not collected theirs yet."""
    weights = [rng.lognormvariate(0, _SIGMA) * (1.03 - math.exp(-age / (2 * timeline.DAY))) for age in ages]
    total = max(_MEAN_VIEWS[profile_type] * len(ages), _VIEWS_PER_INTERACTION * interactions)
    scale = total / sum(weights)
    return [1 + int(weight * scale) for weight in weights]


def likes_of(platform: str, views: int, rng: random.Random) -> int:
    """Likes of an item, never more than its views."""
    return min(views, int(views * _LIKE_RATE[platform] * rng.lognormvariate(0, 0.35)))
