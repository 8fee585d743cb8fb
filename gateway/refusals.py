"""The refusal of a request while the system is overloaded."""

from __future__ import annotations

import random

from chassis import errors
from gateway import metrics

RETRY_SECONDS = (1, 4)
"""Bounds of `Retry-After`: clients that were refused together do not all return together."""


def overloaded() -> errors.Unavailable:
    """Count a refusal, and return its error: 503 `overloaded` with `Retry-After`."""
    metrics.REQUESTS_REFUSED.inc()
    seconds = random.randint(*RETRY_SECONDS)  # noqa: S311 - spreads load, nothing secret
    message = "The system is overloaded. Try again in a few seconds."
    return errors.Unavailable(message, code="overloaded", details={"retry_after_seconds": str(seconds)})
