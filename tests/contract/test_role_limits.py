"""Roles and processes set the same limits of sessions: behind a pooler only those of the role apply."""

from __future__ import annotations

import pytest

from chassis import postgres
from provision import roles, services
from services.jobs import operations

SECONDS = {"ms": 0.001, "s": 1.0}


def limits(service: str) -> dict[str, float]:
    """Return the limits of a role in seconds."""
    texts = {**roles.LIMITS, **roles.TIGHTER_LIMITS.get(service, {})}
    return {name: float(text.rstrip("ms")) * SECONDS[text.lstrip("0123456789")] for name, text in texts.items()}


@pytest.mark.parametrize("service", services.SERVICES)
def test_limits_of_a_role_are_those_of_its_processes(service: str) -> None:
    lock, idle = (
        (operations.LOCK_SECONDS, operations.IDLE_SECONDS)
        if service == "jobs"
        else (postgres.LOCK_SECONDS, postgres.IDLE_SECONDS)
    )
    assert limits(service) == pytest.approx(
        {"statement_timeout": 10.0, "lock_timeout": lock, "idle_in_transaction_session_timeout": idle}
    )
