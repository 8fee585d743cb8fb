"""A third lifecycle, which lives only here: a report that a job writes. Its key has an id beside the owner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from chassis import outbox
from lifecycle import machine, updates
from lifecycle.declaration import Lifecycle
from lifecycle.machine import Ending, Error, Step
from lifecycle.rows import Rows, reader

KIND = "conformance.report"


class State(StrEnum):
    NONE = "none"
    WRITING = "writing"
    WRITTEN = "written"
    FAILED = "failed"


class Action(StrEnum):
    REQUEST = "requested"
    COMPLETE = "written"
    CANCEL = "cancelled"
    FAIL = "failed"
    RESUME = "resumed"


TRANSITIONS: Mapping[Action, tuple[frozenset[State], State]] = {
    Action.REQUEST: (frozenset({State.NONE, State.WRITTEN, State.FAILED}), State.WRITING),
    Action.COMPLETE: (frozenset({State.WRITING}), State.WRITTEN),
    Action.CANCEL: (frozenset({State.WRITING, State.WRITTEN}), State.NONE),
    Action.FAIL: (frozenset({State.WRITING, State.WRITTEN}), State.FAILED),
    Action.RESUME: (frozenset({State.FAILED, State.NONE}), State.WRITING),
}


def _failed(code: str) -> Ending[Action]:
    return Ending(Action.FAIL, Error(code=code, message="It failed."))


MACHINE = machine.Machine(
    initial=State.NONE,
    transitions=TRANSITIONS,
    new_generation=frozenset({Action.REQUEST}),
    steps={
        KIND: Step(
            working=State.WRITING,
            done=State.WRITTEN,
            failed=_failed("unexplained"),
            cancelled=Ending(Action.CANCEL),
            completed=_failed("incomplete"),
            rejected=_failed("rejected"),
            resume=Action.RESUME,
        )
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(machine.Resource):
    owner_id: UUID
    report_id: UUID
    state: State = State.NONE
    rows_written: int = 0

    @property
    def key(self) -> machine.Key:
        return (self.owner_id, self.report_id)


SCHEMA = "conformance"
_metadata = sa.MetaData(schema=SCHEMA)
_outbox = outbox.outbox_table(_metadata)
_time = sa.DateTime(timezone=True)
reports = sa.Table(
    "reports",
    _metadata,
    sa.Column("owner_id", sa.Uuid, primary_key=True),
    sa.Column("report_id", sa.Uuid, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("previous_state", sa.Text),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("job_id", sa.Uuid),
    sa.Column("job_kind", sa.Text),
    sa.Column("job_version", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("error_code", sa.Text),
    sa.Column("error_message", sa.Text),
    sa.Column("rows_written", sa.Integer, nullable=False, server_default="0"),
    sa.Column("changed_at", _time),
    sa.Column("checked_at", _time),
)


ROWS = Rows(
    MACHINE,
    reports,
    read=reader(Report, state=lambda row: State(row["state"])),
    absent=lambda owner_id, report_id: Report(owner_id=owner_id, report_id=report_id),
    changes={Action.REQUEST: {"job_kind": KIND, "rows_written": 0}},
)


async def publish(tx: outbox.Transaction, report: Report, action: Action) -> None:
    """Publish the transition."""
    tx.publish(outbox.Message(subject=f"conformance.events.{report.owner_id}", payload=action.value.encode()))


REPORT = Lifecycle(rows=ROWS, outbox_table=_outbox, effects=publish, submit=partial(updates.new_job, ROWS))


async def create_tables(conn: Any) -> None:
    """Create the schema and its tables."""
    await conn.execute(sa.schema.CreateSchema(SCHEMA))
    await conn.run_sync(_metadata.create_all)


async def drop_tables(conn: Any) -> None:
    """Drop the schema and its tables."""
    await conn.execute(sa.schema.DropSchema(SCHEMA, cascade=True))
