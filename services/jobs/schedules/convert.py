"""Conversion between schedules and proto messages. Pure."""

from __future__ import annotations

from collections.abc import Collection

from chassis import protobuf
from repruv.jobs.v1 import admin_service_pb2 as pb
from repruv.jobs.v1 import job_pb2, kind_pb2
from services.jobs.convert import MAX_PAYLOAD_BYTES, STATES, json_from_proto, json_to_proto, mask_fields
from services.jobs.domain import State
from services.jobs.schedules import cron, operations

_CATCH_UPS = protobuf.Enum(kind_pb2.CatchUp.DESCRIPTOR, cron.CatchUp, "catch_up", unset=cron.CatchUp.LAST)
_OVERLAPS = protobuf.Enum(kind_pb2.Overlap.DESCRIPTOR, cron.Overlap, "overlap", unset=cron.Overlap.SKIP)


def schedule_from_proto(message: kind_pb2.ScheduleRegistration) -> cron.Registration:
    """Return the registration of a schedule. Raises `InvalidArgument` for an unknown choice."""
    return cron.Registration(
        name=message.name,
        kind=message.kind,
        payload=json_from_proto(message.payload, "payload", MAX_PAYLOAD_BYTES),
        cron=message.cron,
        time_zone=message.time_zone or "UTC",
        catch_up=_CATCH_UPS.from_proto(message.catch_up),
        overlap=_OVERLAPS.from_proto(message.overlap),
    )


def details_to_proto(details: operations.Details) -> pb.GetScheduleResponse:
    """Return a schedule with its times as proto, without the values of sensitive fields."""
    return pb.GetScheduleResponse(
        schedule=schedule_to_proto(details.schedule, details.sensitive),
        next_times=filter(None, map(protobuf.to_timestamp, details.next_times)),
        runs=[
            kind_pb2.ScheduleRun(
                time=protobuf.to_timestamp(run.time),
                job_id=str(run.job_id or ""),
                state=STATES.to_proto(State(run.state)) if run.state else job_pb2.JOB_STATE_UNSPECIFIED,
            )
            for run in details.runs
        ],
    )


def schedule_to_proto(schedule: cron.Schedule, sensitive: Collection[str]) -> kind_pb2.Schedule:
    """Return a schedule as proto, without the values of the sensitive fields of its payload."""
    registration = schedule.registration
    return kind_pb2.Schedule(
        registration=kind_pb2.ScheduleRegistration(
            name=registration.name,
            kind=registration.kind,
            payload=json_to_proto(mask_fields(registration.payload, sensitive)),
            cron=registration.cron,
            time_zone=registration.time_zone,
            catch_up=_CATCH_UPS.to_proto(registration.catch_up),
            overlap=_OVERLAPS.to_proto(registration.overlap),
        ),
        pause_time=protobuf.to_timestamp(schedule.paused_at),
        next_time=protobuf.to_timestamp(schedule.next_at),
        last_time=protobuf.to_timestamp(schedule.last_at),
        last_job_id=str(schedule.last_job_id or ""),
        is_of_operator=schedule.is_of_operator,
    )
