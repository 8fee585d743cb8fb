"""The shapes of the job engine, as admins see and change it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from gateway.api.schemas import Body, Count, Job, Text


class Limits(Body):
    """What bounds a kind, over all workers."""

    max_running: Count = Field(0, description="At most this many at once; 0: no limit.")
    max_running_per_key: Count = Field(1, description="At most this many at once that share a concurrency key.")
    rate_count: Count = Field(0, description="At most this many begin in the period; 0: no limit.")
    rate_period_seconds: float | None = Field(None, gt=0, le=86_400, description="Must be given with `rate_count`.")


class Trigger(Body):
    """A job to make of a schedule."""

    job_id: Text = Field("", description="UUIDv7; the same one makes it once. One is made unless given.")


class OwnedJob(Job):
    """A job, and whose it is."""

    owner_id: str = Field(description="The nil UUID is the system itself.")
    crashes: int = Field(description="Attempts that ended because their worker died.")


class OwnedJobs(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[OwnedJob]
    next_page_token: str = Field(description="Empty on the last page.")


class Kind(BaseModel):
    """A kind of jobs; `*` stands for all of them."""

    kind: str = Field(examples=["demo.enable"])
    served: bool = Field(description="Whether a worker declared it in the last two minutes.")
    declared_at: str | None
    paused_at: str | None
    oldest_waiting_at: str | None = Field(description="Since when the oldest waits of those that could begin.")
    counts: dict[str, int] = Field(description="Jobs that have not ended, by status.")
    limits: Limits


class Kinds(BaseModel):
    """All kinds, by name."""

    kinds: list[Kind]


class Schedule(BaseModel):
    """A schedule."""

    name: str
    kind: str
    cron: str = Field(examples=["*/5 * * * *"])
    time_zone: str
    paused_at: str | None
    next_at: str | None
    last_at: str | None
    last_job_id: str | None


class Schedules(BaseModel):
    """All schedules, by name."""

    schedules: list[Schedule]


class StuckJob(BaseModel):
    """A job that needs somebody's eye."""

    job: OwnedJob
    reason: Literal["no_worker", "paused", "waiting", "overrun", "cancelling", "crashing"]
    age_seconds: float


class StuckJobs(BaseModel):
    """The longest stuck first."""

    jobs: list[StuckJob]


class Worker(BaseModel):
    """A worker process."""

    worker: str
    kinds: list[str]
    seen_at: str | None
    held_count: int
    lease_ends_at: str | None


class Workers(BaseModel):
    """Workers that were seen in the last two minutes, or hold jobs, by name."""

    workers: list[Worker]
