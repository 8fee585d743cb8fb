"""The worlds of the demo: one per niche and profile type, written by hand in one module a niche."""

from __future__ import annotations

from services.demo.dataset.niches import beauty, education, finance, fitness, food, gaming, tech_reviews, travel
from services.demo.dataset.niches.world import Group, World

WORLDS: dict[tuple[str, str], World] = {
    (niche, profile_type): world
    for niche, module in (
        ("tech_reviews", tech_reviews),
        ("beauty", beauty),
        ("fitness", fitness),
        ("gaming", gaming),
        ("food", food),
        ("travel", travel),
        ("finance", finance),
        ("education", education),
    )
    for profile_type, world in (
        ("creator", module.CREATOR),
        ("brand", module.BRAND),
        ("local_business", module.LOCAL),
    )
}

__all__ = ["WORLDS", "Group", "World"]
