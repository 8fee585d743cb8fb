"""Transitions with a lost end or an unsubmitted job: repaired by reads and by the sweep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.auth.connections.domain import State
from worker import JobsClient

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
def cancel(cancel_job_of: Callable[[str, str], Awaitable[None]]) -> Callable[[str], Awaitable[None]]:
    """Cancel a job in the real jobs service once it is submitted there."""
    return lambda job_id: cancel_job_of("auth", job_id)


async def test_undelivered_job_is_submitted_again(
    owner: Any, parts_with_jobs: Any, jobs: JobsClient, eventually: Eventually
) -> None:
    moving = await owner.returned()
    assert await jobs.get(str(moving.job_id)) is None

    async def has_arrived() -> bool:
        await parts_with_jobs.settler.sweep(age=timedelta(0))
        return await jobs.get(str(moving.job_id)) is not None

    await eventually(has_arrived)


async def test_lost_end_of_a_job_is_repaired_by_a_read(
    owner: Any, parts_with_jobs: Any, cancel: Callable[[str], Awaitable[None]]
) -> None:
    served = replace(owner, parts=parts_with_jobs)
    moving = await served.returned()
    await cancel(str(moving.job_id))
    read = await served.parts.operations.get(served.user_id, served.platform)
    assert read.state is State.DISCONNECTED
    assert await served.stored() is None


async def test_lost_end_of_a_job_is_settled_by_the_sweep(
    owner: Any, parts_with_jobs: Any, cancel: Callable[[str], Awaitable[None]], eventually: Eventually
) -> None:
    served = replace(owner, parts=parts_with_jobs)
    await served.connected()
    moving = await served.disconnect()
    await cancel(str(moving.job_id))

    async def is_settled() -> bool:
        await served.parts.settler.sweep(age=timedelta(0))
        return (await served.connection()).state is State.DISCONNECTED

    await eventually(is_settled)
    assert (await served.published_events())[-1][0] == "disconnected_unconfirmed"
