"""The worlds of the demo: one for each niche and profile type, written by hand in one module a niche.

The niches are the values of DemoNiche in the protos; each is the name of its module.
"""

from __future__ import annotations

import importlib

from repruv.demo.v1 import demo_pb2
from services.demo.dataset.niches.world import Group, World

NICHES: tuple[str, ...] = tuple(
    name.removeprefix("DEMO_NICHE_").lower() for name, number in demo_pb2.DemoNiche.items() if number
)
WORLDS: dict[tuple[str, str], World] = {
    (niche, profile_type): world
    for niche in NICHES
    for module in [importlib.import_module(f"{__name__}.{niche}")]
    for profile_type, world in (
        ("creator", module.CREATOR),
        ("brand", module.BRAND),
        ("local_business", module.LOCAL),
    )
}

__all__ = ["NICHES", "WORLDS", "Group", "World"]
