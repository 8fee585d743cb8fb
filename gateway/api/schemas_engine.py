"""Bodies and responses of the job engine's administration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from gateway.api.schemas import Body, Count, Moment, Text
from gateway.views.engine import (
    CatchUp,
    ErrorGroup,
    JobCounts,
    JobRow,
    Kind,
    Overlap,
    OwnedJob,
    Problem,
    Schedule,
    StuckJob,
    Worker,
)


class Limits(Body):
    """The limits of a kind over all workers."""

    max_running: Count = Field(0, description="At most this many at once; 0: no limit.")
    max_running_per_key: Count = Field(1, description="At most this many at once that share a concurrency key.")
    rate_count: Count = Field(0, description="At most this many begin in the period; 0: no limit.")
    rate_period_seconds: float | None = Field(None, gt=0, le=86_400, description="Must be given with `rate_count`.")


class Trigger(Body):
    """A job to submit of a schedule."""

    job_id: Text = Field("", description="UUIDv7; a repeated id submits no second job. By default a new one.")


class Run(Body):
    """A job to submit."""

    kind: Text = Field(description="A kind that a worker has registered.", examples=["demo.enable"])
    payload: dict[str, Any] = Field(default_factory=dict)
    owner_id: Text = Field("", description="By default the caller.")
    run_at: Moment | None = Field(None, strict=False, description="When it may begin; by default now.")
    job_id: Text = Field("", description="UUIDv7; a repeated id submits no second job. By default a new one.")


class NewSchedule(Body):
    """A schedule of operators."""

    kind: Text = Field(description="A kind that a worker has registered.")
    payload: dict[str, Any] = Field(default_factory=dict)
    cron: Text = Field(examples=["*/5 * * * *"])
    time_zone: Text = Field("UTC", examples=["Europe/Berlin"])
    catch_up: CatchUp = "last"
    overlap: Overlap = "skip"


RateSpan = Literal["hour", "day", "week"]
JobOrder = Literal["newest", "oldest", "longest_wait", "longest_run"]


class BulkChange(Body):
    """A change of all jobs that the filter selects."""

    change: Literal["retry", "cancel", "hold", "release"]
    per_second: int = Field(20, ge=1, le=1_000, description="At most this many jobs a second.")
    dry_run: bool = Field(False, description="Whether to count the jobs only.")
    job_id: Text = Field("", description="UUIDv7; a repeated id submits no second job. By default a new one.")


class BulkChanged(TypedDict):
    """The job that changes the jobs, null in a dry run; and the current counts of the jobs."""

    job: OwnedJob | None
    counts: JobCounts


class JobRows(TypedDict):
    """A page of jobs."""

    jobs: list[JobRow]
    next_page_token: Annotated[str, Field(description="Empty on the last page.")]
    previous_page_token: Annotated[str, Field(description="Empty on the first page.")]


class Kinds(TypedDict):
    """All kinds, by name."""

    kinds: list[Kind]


class Schedules(TypedDict):
    """All schedules, by name."""

    schedules: list[Schedule]


class StuckJobs(TypedDict):
    """The longest stuck first."""

    jobs: list[StuckJob]


class Workers(TypedDict):
    """Workers that were seen in the last two minutes, or hold jobs, by name."""

    workers: list[Worker]


class Problems(TypedDict):
    """What needs attention, the worst first."""

    problems: list[Problem]


class ErrorGroups(TypedDict):
    """Groups of the newest 20,000 failed jobs, the latest failure first."""

    groups: list[ErrorGroup]
