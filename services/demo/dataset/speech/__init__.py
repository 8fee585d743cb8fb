"""How people speak whatever the niche: audiences by profile type, lead-ins, reviews and replies."""

from __future__ import annotations

from services.demo.dataset.speech.customers import BUYER, VISITOR
from services.demo.dataset.speech.fans import FAN
from services.demo.dataset.speech.voice import Voice

VOICES: dict[str, Voice] = {"creator": FAN, "brand": BUYER, "local_business": VISITOR}

__all__ = ["VOICES", "Voice"]
