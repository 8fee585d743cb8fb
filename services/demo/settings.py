"""The settings of the demo service and its worker."""

from __future__ import annotations

import dataclasses

from chassis import settings

FAILING = {
    "": frozenset[str](),
    "enable": frozenset({"demo.enable"}),
    "disable": frozenset({"demo.disable"}),
    "all": frozenset({"demo.enable", "demo.disable"}),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings(settings.Backend):
    """Settings of `serve` and `migrate`, read from the variables of the same names in upper case."""

    listen: str = "0.0.0.0:50052"
    database_url: str
    jobs_target: str
    """host:port of the jobs service."""

    @property
    def pool_size(self) -> int:
        """Connections of one process to PostgreSQL; docs/operations.md adds them up."""
        return 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings(settings.Backend):
    """Settings of `work`, read from the variables of the same names in upper case."""

    database_url: str
    jobs_target: str
    worker_concurrency: int = 4
    """How many jobs one process runs at once; 1 to 100."""
    demo_fail_handlers: str = ""
    """Makes handlers fail, to show and test what happens then: `enable`, `disable`, `all`, or empty for none."""
    demo_batch_pause_ms: int = 0
    """Pause between two writes of a handler, which also become small, to show and test what happens meanwhile."""

    def __post_init__(self) -> None:
        """Validate; raises `SettingsError`."""
        if not 1 <= self.worker_concurrency <= 100:
            raise settings.SettingsError("WORKER_CONCURRENCY must be between 1 and 100")
        if self.demo_fail_handlers not in FAILING:
            raise settings.SettingsError("DEMO_FAIL_HANDLERS must be enable, disable, all or empty")
        if not 0 <= self.demo_batch_pause_ms <= 60_000:
            raise settings.SettingsError("DEMO_BATCH_PAUSE_MS must be between 0 and 60000")

    @property
    def pool_size(self) -> int:
        """Connections of one process to PostgreSQL: a handler has one while it writes."""
        return self.worker_concurrency + 4

    @property
    def failing(self) -> frozenset[str]:
        """The kinds of the jobs whose handlers must fail."""
        return FAILING[self.demo_fail_handlers]
