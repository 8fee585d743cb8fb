"""The highest fair ranks that this replica has claimed: a kind without ready jobs continues beyond them."""

from __future__ import annotations

from services.jobs.domain import Job

MAX_CLAIMS_AHEAD = 100
"""Claims of all kinds after which the ranks are worth a statement."""
MAX_KINDS = 10_000


class ClaimedRanks:
    """Claims since the last pass of the reconciler.

    Without them the ranks of a kind whose jobs are claimed at once would start at the same number each time. Under an old
    snapshot its index would then keep all claimed jobs where each submit looks for the last rank.
    """

    def __init__(self) -> None:
        self._count = 0
        self._highest: dict[str, int] = {}

    @property
    def is_ahead(self) -> bool:
        """Whether the fair ranks of the kinds should advance even if no job is ready."""
        return self._count >= MAX_CLAIMS_AHEAD

    def add(self, job: Job) -> None:
        """Note a claimed job."""
        self._count += 1
        kind = job.spec.kind
        if kind in self._highest or len(self._highest) < MAX_KINDS:
            self._highest[kind] = max(self._highest.get(kind, 0), job.fair_rank)

    def take(self) -> dict[str, int]:
        """Return the highest claimed rank by kind, and forget all."""
        highest, self._highest, self._count = self._highest, {}, 0
        return highest
