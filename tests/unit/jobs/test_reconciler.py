"""The passes of the reconciler, on tasks that tests set."""

from __future__ import annotations

from typing import Any, cast

from services.jobs import maintenance, reconciler


class Backlog:
    """Duties of which one always has a full batch to move."""

    jobs: Any = None

    def __init__(self) -> None:
        self.promoted = 0
        self.failed = 0

    async def promote_due(self) -> int:
        """Move a full batch, however often it is called."""
        self.promoted += 1
        assert self.promoted < 1_000, "one task takes a whole pass"
        return maintenance.BATCH

    async def fail_overdue(self) -> int:
        """Move two batches."""
        self.failed += 1
        return maintenance.BATCH if self.failed < 2 else 0


async def test_backlog_of_one_task_does_not_delay_another() -> None:
    backlog = Backlog()
    loop = reconciler.Reconciler(cast(maintenance.Maintenance, backlog), is_caught_up=lambda: True)
    assert await loop.move_due_jobs()
    assert (backlog.promoted, backlog.failed) == (reconciler.BATCHES, 2)
