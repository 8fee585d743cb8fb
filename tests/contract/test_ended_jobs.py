"""Emails about ended jobs: the constants of auth agree with those of the jobs service and the pages."""

from __future__ import annotations

from provision import streams
from services.auth.notifications import domain as notifications
from services.auth.notifications import subscriber
from services.jobs import domain as jobs
from services.jobs import transaction


def test_the_same_jobs_are_long() -> None:
    assert notifications.LONG_RUN == jobs.LONG_RUN


def test_ends_of_long_jobs_reach_auth() -> None:
    [filters] = [filters for _, durable, filters in streams.CONSUMERS if durable == "auth"]
    assert {subscriber.SUBJECT, transaction.LONG_ENDED} == {filters[-1]}
