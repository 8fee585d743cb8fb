"""What a worker serves: kinds of jobs with their handlers, and schedules."""

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

from chassis import values
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
    """A kind of jobs: its name, its handler, and what its jobs get when their submitters do not say otherwise.

    What is not given here is as `JobSpec` and `KindDeclaration` of the protos say: 3 attempts of at most 10 minutes each,
    pauses from 1 s to 60 s between them, kept for 7 days after they have ended.
    """

    name: str
    """`<service>.<verb>`; 1 to 100 characters of [a-z0-9_.-]."""
    handler: (
        Callable[[Context, P], Awaitable[object]]
        | Callable[[Context], Awaitable[object]]
        | Callable[[BlockingContext, P], object]
        | Callable[[BlockingContext], object]
    )
    """`async def handler(context, payload)`; without `payload` type `async def handler(context)`; with a pool a plain `def`."""
    _: KW_ONLY
    payload: type[P] | None = None
    """A frozen dataclass, or whatever else pydantic can read; without one the handler reads `context.payload`."""
    max_attempts: int = 0
    """How many attempts may end in an error; 1 to 100."""
    backoff: timedelta | None = None
    """Pause before the second attempt; doubles with each further one."""
    max_backoff: timedelta | None = None
    """Upper bound of that pause."""
    attempt_timeout: timedelta | None = None
    """How long one attempt may run."""
    total_timeout: timedelta | None = None
    """How long the job may take, attempts and pauses included."""
    priority: int = 0
    """Higher is claimed first; -100 to 100."""
    notify_owner: bool = False
    """Whether owners are told when such a job ends, until they have read it."""
    undo: Callable[..., Any] | None = None
    """Called with the original payload, like `handler`, after a job was cancelled whose work had begun."""
    retention: timedelta | None = None
    """How long jobs are kept after they have ended; 1 minute to 10 years."""
    pool: Pool | None = None
    """Where the handler blocks; None for one that is async."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, with ValueError; and a payload that nothing can read."""
        if not NAME.fullmatch(self.name + (UNDO if self.undo else "")):
            raise ValueError(f"{self.name!r} is no name of a kind: 1 to 100 characters of [a-z0-9_.-]")
        if not 0 <= self.max_attempts <= 100 or not -100 <= self.priority <= 100:
            raise ValueError(f"{self.name}: max_attempts must be 1 to 100, priority -100 to 100")
        if self.pool and any(map(inspect.iscoroutinefunction, (self.handler, self.undo))):
            raise ValueError(f"{self.name}: a pool is for handlers that block, without async")
        if self.pool == "process":
            pickle.dumps((self.handler, self.undo))
        if self.payload is not None:
            payloads.prepare(self.payload)

    def declarations(self) -> list[kind_pb2.KindDeclaration]:
        """What the jobs service is told: this kind and, if it can be undone, the kind that does so."""
        said = kind_pb2.KindDeclaration(kind=self.name, notifies=self.notify_owner, undoes=self.undo is not None)
        said.defaults.max_attempts = self.max_attempts
        said.defaults.priority = self.priority
        _set(said.defaults, "backoff", self.backoff)
        _set(said.defaults, "max_backoff", self.max_backoff)
        _set(said.defaults, "attempt_timeout", self.attempt_timeout)
        _set(said.defaults, "total_timeout", self.total_timeout)
        _set(said, "retention", self.retention)
        if self.undo is None:
            return [said]
        undo = kind_pb2.KindDeclaration()
        undo.CopyFrom(said)
        undo.kind, undo.undoes, undo.notifies = self.name + UNDO, False, False
        # What was begun must be undone, however long that takes.
        undo.defaults.ClearField("total_timeout")
        return [said, undo]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Jobs that come by themselves. They belong to the system, not to a user."""

    name: str
    """Unique among all; like a kind's."""
    _: KW_ONLY
    kind: Kind[Any] | str
    cron: str
    """Five fields of crontab(5)."""
    payload: object = field(default_factory=dict[str, Any])
    """A payload of the kind, or a mapping."""
    time_zone: str = "UTC"
    """An IANA time zone."""
    catch_up: Literal["last", "none", "all"] = "last"
    """For the times that passed while nobody could fire: one job for all of them, none, or one each (up to 100)."""
    overlap: Literal["skip", "allow", "queue"] = "skip"
    """While the previous job has not ended: leave this time out, run beside it, or after it."""

    def declaration(self) -> kind_pb2.ScheduleDeclaration:
        """What the jobs service is told."""
        return kind_pb2.ScheduleDeclaration(
            name=self.name,
            kind=name_of(self.kind),
            payload=values.to_struct(self.payload),
            cron=self.cron,
            time_zone=self.time_zone,
            catch_up=kind_pb2.CatchUp.Value(f"CATCH_UP_{self.catch_up.upper()}"),
            overlap=kind_pb2.Overlap.Value(f"OVERLAP_{self.overlap.upper()}"),
        )


def name_of(kind: Kind[Any] | str) -> str:
    """Give the name of a kind, which other services know by its name only."""
    return kind if isinstance(kind, str) else kind.name


def by_name(kinds: list[Kind[Any]]) -> Mapping[str, Kind[Any]]:
    """Give what serves each name, undoing included. Raises ValueError for a name that is there twice."""
    served = {declared.kind: kind for kind in kinds for declared in kind.declarations()}
    if len(served) != sum(len(kind.declarations()) for kind in kinds):
        raise ValueError("a kind is served twice")
    return served


def _set(message: Message, name: str, value: timedelta | None) -> None:
    if value is not None:
        getattr(message, name).FromTimedelta(value)
