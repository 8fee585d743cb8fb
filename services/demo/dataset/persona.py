"""The account the demo belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.demo.dataset import people
from services.demo.dataset.niches import WORLDS
from services.demo.dataset.spec import Spec

# Content is spread over a profile's platforms by these weights.
PLATFORMS: dict[str, dict[str, int]] = {
    "creator": {"youtube": 44, "instagram": 26, "tiktok": 24, "facebook": 6},
    "brand": {"instagram": 34, "tiktok": 16, "facebook": 14, "youtube": 10, "trustpilot": 18, "google": 8},
    "local_business": {"google": 42, "facebook": 28, "instagram": 30},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """`handle` has no leading @; `avatar` is one or two initials."""

    name: str
    handle: str
    tagline: str
    avatar: str
    niche: str
    profile_type: str
    platforms: tuple[str, ...]


def profile(spec: Spec) -> Profile:
    """Return the invented account of a spec."""
    world = WORLDS[spec.niche, spec.profile_type]
    rng = spec.rng("profile")
    name = rng.choice(world.names)
    return Profile(
        name=name,
        handle=people.slug(name),
        tagline=rng.choice(world.taglines),
        avatar="".join(word[0] for word in re.findall(r"\w+", name.removeprefix("The "))[:2]).upper(),
        niche=spec.niche,
        profile_type=spec.profile_type,
        platforms=tuple(PLATFORMS[spec.profile_type]),
    )
