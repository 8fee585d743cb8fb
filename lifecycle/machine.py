"""The state machine of a resource that jobs move: the start of an attempt, the effect of a job update. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, Generic, TypeVar
from uuid import UUID

ActionT = TypeVar("ActionT", bound=StrEnum)
"""The actions of a lifecycle."""

Key = tuple[Any, ...]
"""The values of a resource's primary key, in the order of the table's columns. The first is the owner's id."""

FIRST_CLAIM = 2
"""The version of a job's snapshot after its first claim; version 1 is the submit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """Why a resource failed: a stable code, and a sentence for the user."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """The fields that the snapshot of every resource has. Subclasses add `key` and their own."""

    state: StrEnum
    generation: int = 0
    """Grows with each action in `Machine.new_generation`; 0 if there is no row."""
    version: int = 0
    """Grows by one with each change."""
    attempt: int = 0
    """The highest attempt of the job that has begun or is known to have ended. Lower ones may not write."""
    job_id: UUID | None = None
    """The job of this generation."""
    job_kind: str | None = None
    job_version: int = 0
    """The version of the newest job update that was applied. Older ones have no effect."""
    error: Error | None = None
    """Set exactly in a state that means failure."""
    changed_at: datetime | None = None
    """The time of the latest transition."""

    @property
    def key(self) -> Key:
        """The primary key."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """The condition of a handler's write: one attempt of the job of one generation."""

    key: Key
    job_id: UUID
    generation: int
    attempt: int


class AttemptStart(StrEnum):
    """What an attempt does when it begins."""

    WORK = "work"
    RESUME = "resume"
    """Move the state back into the transition first: the job was retried after it had ended."""
    DONE = "done"
    """Nothing: an earlier attempt moved the state and ended before it could report that."""
    FAILED = "failed"
    """Fail with the error of the resource: an earlier attempt failed it and ended before it could report that, or the job was
    retried although its step never resumes."""
    SUPERSEDED = "superseded"
    """Nothing, ever: the job is not of the current generation, it has ended, or a later attempt has begun."""


class JobPhase(StrEnum):
    """What the state of a job means to the resource."""

    UNCLAIMED = "unclaimed"
    """Not claimed: submitted, or between two attempts."""
    HELD = "held"
    """A worker runs it."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED = frozenset({JobPhase.COMPLETED, JobPhase.FAILED, JobPhase.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobUpdate:
    """A snapshot of a job, from an event or from an answer of the jobs service."""

    key: Key
    job_id: UUID
    kind: str
    generation: int
    phase: JobPhase
    attempt: int
    version: int
    error: Error | None = None


@dataclass(frozen=True, slots=True)
class Ending(Generic[ActionT]):
    """What the end of a job does to the resource: an action, and the error to store if it leads to a failure."""

    action: ActionT
    error: Error | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Generic[ActionT]):
    """What the job of one kind does: from the state `working`, which its handler moves to `done`."""

    working: StrEnum
    done: StrEnum
    """A job may still fail or be cancelled here, if its worker could not report the end of the work. The resource follows it if
    the transitions allow the action of that ending here."""
    failed: Ending[ActionT]
    """Its error is stored if the job's own is missing or not accepted by `Machine.job_error`."""
    cancelled: Ending[ActionT]
    completed: Ending[ActionT]
    """The job completed, but the state was not moved. The handler moves it first, so committed writes were lost."""
    rejected: Ending[ActionT]
    """The jobs service will never accept the job."""
    resume: ActionT | None = None
    """The action that takes the work up again when a job that had ended is retried; None: it is never resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait(Generic[ActionT]):
    """A state that waits for the user as long as there is no job: after `limit` the action ends it."""

    state: StrEnum
    limit: timedelta
    action: ActionT


@dataclass(frozen=True, kw_only=True, eq=False)
class Machine(Generic[ActionT]):
    """The transitions of a resource, and what its jobs do to it."""

    initial: StrEnum
    """The state of a resource without a row."""
    transitions: Mapping[ActionT, tuple[frozenset[Any], StrEnum]]
    """Action -> (from these states, to that state)."""
    new_generation: frozenset[ActionT]
    """The actions that take a new generation: writes and updates of an earlier job have no effect after them."""
    steps: Mapping[str, Step[ActionT]]
    """The step of each job kind."""
    wait: Wait[ActionT] | None = None
    job_error: Callable[[Error], Error | None] = lambda error: error
    """Returns the error to store for a job's own; None to store that of `Step.failed`."""

    @cached_property
    def working(self) -> tuple[StrEnum, ...]:
        """The states that a job moves on, sorted."""
        return tuple(sorted({step.working for step in self.steps.values()}))

    def has_pending_job(self, resource: Resource) -> bool:
        """Return whether a job has to move the resource on."""
        return resource.job_id is not None and resource.state in self.working

    def is_waiting(self, resource: Resource) -> bool:
        """Return whether the resource waits for its user, without a job."""
        return self.wait is not None and resource.job_id is None and resource.state == self.wait.state

    def may_need_repair(self, resource: Resource) -> bool:
        """Return whether the resource waits for its job or its user, or has failed in a job that may be retried."""
        return self.has_pending_job(resource) or self.is_waiting(resource) or self._may_resume_after_failure(resource)

    def decide_start(self, resource: Resource, fence: Fence, kind: str) -> AttemptStart:
        """Decide what an attempt of a job does when it begins."""
        if (resource.job_id, resource.generation, resource.job_kind) != (fence.job_id, fence.generation, kind):
            return AttemptStart.SUPERSEDED
        step = self.steps[kind]
        if resource.state == step.done:
            return AttemptStart.DONE
        if resource.state == step.working:
            return AttemptStart.WORK if fence.attempt >= resource.attempt else AttemptStart.SUPERSEDED
        # An attempt that has ended, or was judged to have, does not begin again; a retry has a higher number.
        if fence.attempt > resource.attempt:
            if self._resumes(resource, step):
                return AttemptStart.RESUME
            if resource.error and resource.state == self.transitions[step.failed.action][1]:
                return AttemptStart.FAILED
        return AttemptStart.SUPERSEDED

    def is_current(self, resource: Resource, update: JobUpdate) -> bool:
        """Return whether the update is of the job of the current generation, and newer than those applied."""
        is_of_job = resource.job_id == update.job_id and resource.generation == update.generation
        return is_of_job and update.version > resource.job_version and update.attempt >= resource.attempt

    def settle(self, resource: Resource, update: JobUpdate) -> Ending[ActionT] | None:
        """Decide what an update does to the resource; None for nothing. Updates may come late, twice and in any order."""
        if not self.is_current(resource, update) or resource.job_kind is None:
            return None
        step = self.steps[resource.job_kind]
        match update.phase:
            case JobPhase.UNCLAIMED:
                return self._resumption(resource, step)
            case JobPhase.HELD:
                # A held attempt that is known here has begun, and may already have moved the state on.
                return self._resumption(resource, step) if update.attempt > resource.attempt else None
            case JobPhase.COMPLETED:
                return step.completed if resource.state == step.working else None
            case JobPhase.CANCELLED:
                ending = step.cancelled
            case JobPhase.FAILED:
                ending = self._failure(step, update)
        ends_here = resource.state in {step.working, step.done} & self.transitions[ending.action][0]
        return ending if ends_here else None

    def has_effect(self, resource: Resource, update: JobUpdate) -> bool:
        """Return whether an update changes the resource, or must be remembered so that an older one has no effect later.

        Nothing older than the first claim has an effect. Other updates of an attempt that has begun here add nothing to
        it, and those of lower attempts are not current. A job that is never resumed has one end.
        """
        if not self.is_current(resource, update) or resource.job_kind is None:
            return False
        if self.settle(resource, update):
            return True
        adds_nothing = update.phase in {JobPhase.HELD, JobPhase.COMPLETED} and update.attempt == resource.attempt > 0
        resumes = self.steps[resource.job_kind].resume is not None
        return resumes and update.version > FIRST_CLAIM and not adds_nothing

    def _failure(self, step: Step[ActionT], update: JobUpdate) -> Ending[ActionT]:
        if step.failed.error is None or update.error is None:
            return step.failed
        return Ending(step.failed.action, self.job_error(update.error) or step.failed.error)

    def _may_resume_after_failure(self, resource: Resource) -> bool:
        step = self.steps.get(resource.job_kind or "")
        return resource.error is not None and step is not None and self._resumes(resource, step)

    def _resumption(self, resource: Resource, step: Step[ActionT]) -> Ending[ActionT] | None:
        return Ending(step.resume) if step.resume and self._resumes(resource, step) else None

    def _resumes(self, resource: Resource, step: Step[ActionT]) -> bool:
        return step.resume is not None and resource.state in self.transitions[step.resume][0]
