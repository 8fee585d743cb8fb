"""Emails about ended jobs: the constants of auth agree with those of the jobs service and the pages."""

from __future__ import annotations

from provision import services, streams
from services.auth.notifications import domain as notifications
from services.auth.notifications import ended_jobs, subscriber
from services.jobs import domain as jobs
from services.jobs import transaction


def test_the_same_jobs_are_long() -> None:
    assert notifications.LONG_RUN == jobs.LONG_RUN


def test_ends_of_long_jobs_reach_auth() -> None:
    [filters] = [filters for _, durable, filters in streams.CONSUMERS if durable == "auth"]
    assert filters[-1] == subscriber.FILTER
    assert ended_jobs.SUBJECT == transaction.LONG_ENDED
    assert subscriber.Subscriber.consumes(f"jobs.events.{transaction.LONG_ENDED}")
    assert ended_jobs.SUBJECT.startswith(subscriber.FILTER.removesuffix(">"))
    assert not any(transaction.LONG_ENDED.startswith(f"{service}.") for service in services.SERVICES)
