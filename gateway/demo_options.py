"""The options of demo mode, shared by the form and the API schema.

The demo service validates; `tests/contract/test_choices.py` compares this module with what the service accepts.
"""

from __future__ import annotations

from datetime import timedelta

from repruv.demo.v1 import demo_pb2

AUTO = "auto"
PROFILE_TYPES = ("creator", "brand", "local_business")
NICHES = tuple(name.removeprefix("DEMO_NICHE_").lower() for name, number in demo_pb2.DemoNiche.items() if number)
CONTENT_LIMITS = (1, 1_000)
DEFAULT_CONTENT = 60
INTERACTION_LIMITS = (0, 100_000)
DEFAULT_INTERACTIONS = 2_000
EXPIRY_LIMITS = (timedelta(minutes=10), timedelta(days=90))
