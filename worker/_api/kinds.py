"""Kinds of jobs with their handlers, and schedules."""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal

from google.protobuf.message import Message
from typing_extensions import TypeVar

from chassis import protobuf
from repruv.jobs.v1 import kind_pb2
from worker._api import payloads

if TYPE_CHECKING:
    from worker._api.blocking import BlockingContext
    from worker._api.context import Context

P = TypeVar("P", default=Mapping[str, Any])
Pool = Literal["thread", "process"]

NAME = re.compile(r"[a-z0-9_.-]{1,100}")
UNDO = ".undo"


@dataclass(frozen=True, slots=True)
class Kind(Generic[P]):
    """A kind of jobs: its name, its handler and the defaults of its jobs.

    `JobSpec` and `KindRegistration` of the protos define the values of fields that are not set: 3 attempts of at most
    10 minutes, a backoff from 1 s to 60 s, a retention of 7 days after the end.
    """

    name: str
    """`<service>.<verb>`, 1 to 100 characters of [a-z0-9_.-]."""
    handler: (
        Callable[[Context, P], Awaitable[object]]
        | Callable[[Context], Awaitable[object]]
        | Callable[[BlockingContext, P], object]
        | Callable[[BlockingContext], object]
    )
    """`async def handler(context, payload)`; without a payload type `async def handler(context)`; with a pool a `def`."""
    _: KW_ONLY
    payload: type[P] | None = None
    """A frozen dataclass or another type that pydantic reads. Without one the handler reads `context.payload`."""
    max_attempts: int = 0
    """Attempts that may end in an error, 1 to 100."""
    backoff: timedelta | None = None
    """Pause before the second attempt. It doubles with each further attempt."""
    max_backoff: timedelta | None = None
    """Upper bound of that pause."""
    attempt_timeout: timedelta | None = None
    """Time that one attempt may take."""
    total_timeout: timedelta | None = None
    """Time that the job may take, attempts and pauses included."""
    priority: int = 0
    """Jobs of a higher priority are claimed first; -100 to 100."""
    notify_owner: bool = False
    """Whether the owner gets a notification when such a job ends."""
    undo: Callable[..., Any] | None = None
    """Called like `handler`, with the original payload, when a job is cancelled after it had started."""
    retention: timedelta | None = None
    """Time that jobs are kept after their end, 1 minute to 10 years."""
    pool: Pool | None = None
    """Where a blocking handler runs. None for an async handler."""
    sensitive: tuple[str, ...] = ()
    """Fields of the payload whose values operators must not read: tracebacks, log lines and pages mask them."""

    def __post_init__(self) -> None:
        """Validate the fields. Raises ValueError, and the error of pydantic for a payload type that it cannot read."""
        if not NAME.fullmatch(self.name + (UNDO if self.undo else "")):
            raise ValueError(f"{self.name!r} is not a name of a kind: 1 to 100 characters of [a-z0-9_.-]")
        if not 0 <= self.max_attempts <= 100 or not -100 <= self.priority <= 100:
            raise ValueError(f"{self.name}: max_attempts must be 1 to 100, priority -100 to 100")
        if self.pool and any(map(inspect.iscoroutinefunction, (self.handler, self.undo))):
            raise ValueError(f"{self.name}: a pool runs plain functions, not async ones")
        if self.pool == "process":
            pickle.dumps((self.handler, self.undo))
        if self.payload is not None:
            payloads.prepare(self.payload)
        if unknown := set(self.sensitive) - payloads.fields(self.payload, self.sensitive):
            raise ValueError(f"{self.name}: the payload has no field {min(unknown)}")

    def registrations(self) -> list[kind_pb2.KindRegistration]:
        """Return the registration of this kind and, with `undo`, that of its undo kind."""
        registration = kind_pb2.KindRegistration(
            kind=self.name,
            notify_owner=self.notify_owner,
            has_undo=self.undo is not None,
            sensitive_fields=self.sensitive,
            payload_schema=payloads.schema(self.payload),
        )
        registration.defaults.max_attempts = self.max_attempts
        registration.defaults.priority = self.priority
        _set(registration.defaults, "backoff", self.backoff)
        _set(registration.defaults, "max_backoff", self.max_backoff)
        _set(registration.defaults, "attempt_timeout", self.attempt_timeout)
        _set(registration.defaults, "total_timeout", self.total_timeout)
        _set(registration, "retention", self.retention)
        if self.undo is None:
            return [registration]
        undo = kind_pb2.KindRegistration()
        undo.CopyFrom(registration)
        undo.kind, undo.has_undo, undo.notify_owner = self.name + UNDO, False, False
        undo.payload_schema = ""
        # An undo must succeed however long it takes.
        undo.defaults.ClearField("total_timeout")
        return [registration, undo]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Jobs that are submitted at fixed times. The system owns them."""

    name: str
    """Unique among all schedules; same characters as the name of a kind."""
    _: KW_ONLY
    kind: Kind[Any] | str
    cron: str
    """Five fields of crontab(5)."""
    payload: object = field(default_factory=dict[str, Any])
    """A payload of the kind, or a mapping."""
    time_zone: str = "UTC"
    """An IANA time zone."""
    catch_up: Literal["last", "none", "all"] = "last"
    """Jobs for the times missed in an outage: one for all of them, none, or one each (up to 100)."""
    overlap: Literal["skip", "allow", "queue"] = "skip"
    """While the previous job has not ended: skip this time, run beside it, or run after it."""

    def registration(self) -> kind_pb2.ScheduleRegistration:
        """Return the registration of this schedule."""
        return kind_pb2.ScheduleRegistration(
            name=self.name,
            kind=name_of(self.kind),
            payload=protobuf.to_struct(self.payload),
            cron=self.cron,
            time_zone=self.time_zone,
            catch_up=kind_pb2.CatchUp.Value(f"CATCH_UP_{self.catch_up.upper()}"),
            overlap=kind_pb2.Overlap.Value(f"OVERLAP_{self.overlap.upper()}"),
        )


def name_of(kind: Kind[Any] | str) -> str:
    """Return the name of a kind. Other services know a kind by its name only."""
    return kind if isinstance(kind, str) else kind.name


def by_name(kinds: list[Kind[Any]]) -> Mapping[str, Kind[Any]]:
    """Return the kinds by name, undo kinds included. Raises ValueError for a duplicate name."""
    named = {registration.kind: kind for kind in kinds for registration in kind.registrations()}
    if len(named) != sum(len(kind.registrations()) for kind in kinds):
        raise ValueError("two kinds have the same name")
    return named


def _set(message: Message, name: str, value: timedelta | None) -> None:
    if value is not None:
        getattr(message, name).FromTimedelta(value)
