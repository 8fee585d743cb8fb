"""The specification of a demo data set, and its bounds."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime

from services.demo.dataset.niches import NICHES

PROFILE_TYPES: tuple[str, ...] = ("creator", "brand", "local_business")
AUTO = "auto"

MAX_CONTENT = 1_000
MAX_INTERACTIONS = 100_000
DEFAULT_CONTENT = 60
DEFAULT_INTERACTIONS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Equal specs give equal data, in any process.

    `profile_type` and `niche` are never `auto` (see `resolve`), `content_count` is 1..MAX_CONTENT, `interaction_count`
    0..MAX_INTERACTIONS; nothing happens after the aware time `now`. ValueError names the field that is out of bounds.
    """

    profile_type: str
    niche: str
    content_count: int
    interaction_count: int
    seed: int
    now: datetime

    def __post_init__(self) -> None:
        _require_known("profile_type", self.profile_type, PROFILE_TYPES)
        _require_known("niche", self.niche, NICHES)
        if not 1 <= self.content_count <= MAX_CONTENT:
            raise ValueError(f"content_count must be 1..{MAX_CONTENT}, not {self.content_count}")
        if not 0 <= self.interaction_count <= MAX_INTERACTIONS:
            raise ValueError(f"interaction_count must be 0..{MAX_INTERACTIONS}, not {self.interaction_count}")
        if self.now.utcoffset() is None:
            raise ValueError("now must carry a time zone")

    def rng(self, purpose: str) -> random.Random:
        """Return a stream of randomness for one purpose, so that no part shifts another."""
        return random.Random(f"{self.seed}:{self.profile_type}:{self.niche}:{purpose}")


def resolve(profile_type: str, niche: str, seed: int) -> tuple[str, str]:
    """Replace 'auto' by what the seed picks; ValueError names an unknown one."""
    _require_known("profile_type", profile_type, (AUTO, *PROFILE_TYPES))
    _require_known("niche", niche, (AUTO, *NICHES))
    rng = random.Random(f"{seed}:auto")
    chosen_type, chosen_niche = rng.choice(PROFILE_TYPES), rng.choice(NICHES)
    return (
        chosen_type if profile_type == AUTO else profile_type,
        chosen_niche if niche == AUTO else niche,
    )


def _require_known(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{field} must be one of {', '.join(allowed)}, not {value!r}")
