"""Sample data of a creator, brand or local business: invented, believable, and the same for the same spec.

Pure: no I/O, no clock, no global randomness. Call `content` once and `interactions` for each chunk.
"""

from __future__ import annotations

from services.demo.dataset.catalogue import ContentItem, content
from services.demo.dataset.conversation import INTERACTION_CHUNK, Interaction, interactions
from services.demo.dataset.niches import NICHES
from services.demo.dataset.persona import Profile, profile
from services.demo.dataset.spec import (
    DEFAULT_CONTENT,
    DEFAULT_INTERACTIONS,
    MAX_CONTENT,
    MAX_INTERACTIONS,
    PROFILE_TYPES,
    Spec,
    resolve,
)

__all__ = [
    "DEFAULT_CONTENT",
    "DEFAULT_INTERACTIONS",
    "INTERACTION_CHUNK",
    "MAX_CONTENT",
    "MAX_INTERACTIONS",
    "NICHES",
    "PROFILE_TYPES",
    "ContentItem",
    "Interaction",
    "Profile",
    "Spec",
    "content",
    "interactions",
    "profile",
    "resolve",
]
