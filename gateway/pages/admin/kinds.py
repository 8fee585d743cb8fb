"""Kinds of jobs: their queues, limits and pauses."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from google.protobuf.duration_pb2 import Duration
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors, ids, protobuf
from gateway import flash, inputs, payloads, redirects
from gateway.identity import sessions
from gateway.pages import forms, page_request
from gateway.pages.admin import job_query, payload_form, people, schedules
from gateway.pages.admin.admin_page import AdminPage
from gateway.views import engine
from repruv.jobs.v1 import admin_service_pb2, kind_pb2

PATH = "/admin/kinds"
LIMITS = ("max_running", "max_running_per_key", "rate_count", "rate_period_seconds")
MAX_INT32 = 2**31 - 1
LONGEST_SECONDS = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A kind with its numbers of now and of the last hour."""

    kind: engine.Kind
    is_paused: bool
    """Whether it is paused, or everything."""
    waiting: int
    scheduled: int
    running: int
    failed: int
    points: Sequence[engine.RatePoint]

    @property
    def rank(self) -> int:
        """The group: 0 needs attention, 1 active, 2 idle."""
        is_blocked = self.waiting > 0 and (self.is_paused or not self.kind["has_worker"])
        if is_blocked or self.failed:
            return 0
        return 1 if self.waiting or self.running or self.points or self.kind["paused_at"] else 2


GROUPS = ("Needs attention", "Active", "Idle")


class Kinds(AdminPage):
    """`/admin/kinds` and `/admin/kinds/{kind}`."""

    def routes(self) -> list[Route]:
        return [
            Route(f"{PATH}/confirm", self.confirm),
            *self.page_routes(PATH, self.show, {"pause": self.pause, "resume": self.resume}),
            *self.page_routes(
                f"{PATH}/{{kind}}",
                self.show_kind,
                {"limits": self.limit, "run": self.run, "schedule": self.schedule},
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Show all kinds, the worst first."""
        visitor = await self.begin(request)
        kinds, rates = await asyncio.gather(
            self._container.engine.list_kinds(visitor.identity),
            self._container.engine.get_rates(visitor.identity, span=admin_service_pb2.RATE_SPAN_HOUR),
        )
        views = [engine.kind(kind) for kind in kinds.kinds]
        shown_rates = engine.rates(rates)
        rates_of = {rate["kind"]: rate for rate in shown_rates["kinds"]}
        is_everything_paused = _is_paused(next((kind for kind in views if kind["kind"] == "*"), None))
        rows = sorted(
            (
                _row(kind, rates_of.get(kind["kind"]), is_everything_paused=is_everything_paused)
                for kind in views
                if kind["kind"] != "*"
            ),
            key=lambda row: (row.rank, -row.failed, -row.waiting, -row.running, row.kind["kind"]),
        )
        context = {
            "groups": [(title, [row for row in rows if row.rank == rank]) for rank, title in enumerate(GROUPS)],
            "count": len(rows),
            "times": {"ended_after": shown_rates["begins_at"], "ended_before": shown_rates["ends_at"]},
            "is_everything_paused": is_everything_paused,
        }
        return visitor.show("admin/kinds", PATH, context)

    async def show_kind(self, request: Request) -> Response:
        """Show one kind and its limits."""
        visitor = await self.begin(request)
        return visitor.show("admin/kind", f"{PATH}/{request.path_params['kind']}", await self._kind(request, visitor))

    async def _kind(self, request: Request, visitor: page_request.Visitor, replayed: str = "") -> dict[str, object]:
        details = await self._details(request, visitor.identity)
        actors = (change["actor_id"] or "" for change in details["changes"])
        is_everything_paused, addresses = await asyncio.gather(
            self._is_everything_paused(visitor.identity),
            people.addresses(self._container, actors, identity=visitor.identity),
        )
        payload, owner = {}, ""
        if job_id := replayed or request.query_params.get("replay", ""):
            job = (await self._container.jobs.get_job(visitor.identity, job_id=inputs.parse_id(job_id, "job"))).job
            payload, owner = protobuf.from_struct(job.spec.payload), job.spec.owner_id
        name = details["kind"]["kind"]
        fields = None
        if _is_runnable(details):
            fields = payload_form.fields(details["payload_schema"], payload, details["sensitive_fields"])
        return {
            "kind": details["kind"],
            "changes": details["changes"],
            "addresses": addresses,
            "is_everything_paused": is_everything_paused,
            "fields": fields,
            "has_sensitive": bool(details["sensitive_fields"]),
            "replayed": job_id,
            "owner": owner,
            "job_id": str(ids.uuid7()),
            **_snippets(
                self._container.settings.public_url,
                name,
                {field: value for field, value in payload.items() if field not in details["sensitive_fields"]},
                job_id,
            ),
        }

    async def _details(self, request: Request, identity: str) -> engine.KindDetails:
        name = request.path_params["kind"]
        try:
            return engine.kind_details(await self._container.engine.get_kind(identity, kind=name))
        except errors.InvalidArgument:
            raise errors.NotFound("There is no such job type.", code="kind_not_found") from None

    async def _is_everything_paused(self, identity: str) -> bool:
        try:
            everything = (await self._container.engine.get_kind(identity, kind="*")).kind
        except errors.NotFound:
            return False
        return everything.HasField("pause_time")

    async def confirm(self, request: Request) -> Response:
        """Ask before everything is paused: how many jobs wait, run and are scheduled."""
        visitor = await self.begin(request)
        kinds = [engine.kind(kind) for kind in (await self._container.engine.list_kinds(visitor.identity)).kinds]
        running = sum(kind["counts"].get(state, 0) for kind in kinds for state in ("running", "cancelling"))
        waiting = sum(sum(kind["counts"].values()) for kind in kinds) - running
        context = {
            "question": "Pause all job types?",
            "facts": [
                f"{waiting:,} unfinished job{'' if waiting == 1 else 's'} and all new ones wait until you resume.",
                f"{running:,} running job{'' if running == 1 else 's'} will finish.",
                "Users can still submit jobs, such as enabling demo mode. Nothing happens until you resume.",
            ],
            "action": f"{PATH}/pause",
            "fields": {"kind": "*"},
            "button": "Pause everything",
            "back": PATH,
        }
        return visitor.show("admin/confirm", f"{PATH}/confirm", context)

    async def pause(self, request: Request) -> Response:
        """Pause a kind."""
        session, fields = await self.read_form(request, "kind", "origin")
        await self._container.engine.pause_kind(session.identity, kind=fields["kind"])
        return self._back(fields, "kind_paused")

    async def resume(self, request: Request) -> Response:
        """Resume a kind."""
        session, fields = await self.read_form(request, "kind", "origin")
        await self._container.engine.resume_kind(session.identity, kind=fields["kind"])
        return self._back(fields, "kind_resumed")

    def _back(self, fields: dict[str, str], flash_code: str) -> Response:
        origin = redirects.local(fields["origin"]) or PATH
        return self.redirect(origin, flash_code=flash.about(flash_code, fields["kind"]))

    async def run(self, request: Request) -> Response:
        """Submit a job and show it; show the form again if a field is invalid."""
        visitor = await self.begin(request)
        session, zone = visitor.session, visitor.reader.zone
        details = await self._details(request, session.identity)
        form = payload_form.fields(details["payload_schema"], {}, details["sensitive_fields"])
        names = (*(field.key for field in form), "job_id", "owner", "run_at", "replayed")
        session, values = await self.read_form(request, *names)
        try:
            rpc_request = admin_service_pb2.RunJobRequest(
                job_id=str(ids.parse(values["job_id"], "job_id")), kind=details["kind"]["kind"]
            )
            validation = errors.Validation()
            with validation.field():
                rpc_request.payload.CopyFrom(payloads.to_struct(payload_form.read(form, values)))
            with validation.field():
                rpc_request.owner_id = await self._owner_id(values["owner"], session.identity)
            with validation.field():
                if moment := _moment(values["run_at"], zone):
                    rpc_request.run_at.FromDatetime(moment)
            validation.end()
            job = (await self._container.engine.run_job.send(session.identity, rpc_request)).job
        except errors.Error as error:
            return await self._show_again(request, error, values, form)
        return self.redirect(f"/jobs/{job.job_id}")

    async def schedule(self, request: Request) -> Response:
        """Create a schedule and show it; show the form again if a field is invalid."""
        session = await self._session(request)
        details = await self._details(request, session.identity)
        form = payload_form.fields(details["payload_schema"], {}, details["sensitive_fields"])
        names = (*(field.key for field in form), "name", *schedules.TIMES, "replayed")
        session, values = await self.read_form(request, *names)
        try:
            registration = schedules.registration(
                values["name"].strip(), details["kind"]["kind"], payload_form.read(form, values), values
            )
            await schedules.require_new(self._container, registration.name, session.identity)
            await self._container.engine.set_schedule(session.identity, registration=registration)
        except errors.Error as error:
            return await self._show_again(request, error, values, form)
        return self.redirect(
            f"{schedules.PATH}/{registration.name}", flash_code=flash.about("schedule_saved", registration.name)
        )

    async def _owner_id(self, owner: str, identity: str) -> str:
        owner_id = await people.owner_id(self._container, owner, identity=identity) if owner else ""
        if owner_id is None:
            raise errors.InvalidArgument("There is no such user.", field="owner")
        return owner_id

    async def _session(self, request: Request) -> sessions.Session:
        """Return the session of an admin: the fields of the form follow from what only admins read."""
        return (await self.begin(request)).session

    async def _show_again(
        self, request: Request, error: errors.Error, values: dict[str, str], form: Sequence[payload_form.Field]
    ) -> Response:
        by_field = {field.name: field.key for field in form}
        if isinstance(error, errors.InvalidArgument):
            error = errors.InvalidArgument(
                error.message, field=by_field.get(error.field, error.field), details=error.details
            )
        status, mistakes = forms.mistakes_of(error, values.keys())
        visitor = await self.begin(request)
        sensitive = {field.key for field in form if field.is_sensitive}
        visible = {name: value for name, value in values.items() if name not in sensitive}
        context = {
            **await self._kind(request, visitor, values["replayed"]),
            "form": forms.filled(visible, mistakes),
        }
        return visitor.show("admin/kind", f"{PATH}/{request.path_params['kind']}", context, status=status)

    async def limit(self, request: Request) -> Response:
        """Replace the limits of a kind; show the form again if one is invalid."""
        session, fields = await self.read_form(request, *LIMITS)
        name = request.path_params["kind"]
        try:
            await self._container.engine.set_kind_limits(session.identity, kind=name, limits=_limits(fields))
        except errors.InvalidArgument as error:
            status, form = forms.refused_form(error, fields)
            visitor = await self.begin(request)
            return visitor.show(
                "admin/kind", f"{PATH}/{name}", {**await self._kind(request, visitor), "form": form}, status=status
            )
        return self.redirect(f"{PATH}/{name}", flash_code=flash.about("kind_limited", name))


def _moment(text: str, zone: tzinfo) -> datetime | None:
    moment = job_query.moment(text, zone) if text else None
    if text and moment is None:
        raise errors.InvalidArgument("Enter a date and a time.", field="run_at")
    return moment


def _is_runnable(details: engine.KindDetails) -> bool:
    name = details["kind"]["kind"]
    return details["kind"]["registered_at"] is not None and not name.startswith("jobs.") and not name.endswith(".undo")


def _snippets(public_url: str, kind: str, payload: dict[str, object], replayed: str) -> dict[str, str]:
    """Return the same job as a command of the admin tool and as a request of an admin's session."""
    text = json.dumps(payload, ensure_ascii=False)
    body = json.dumps({"kind": kind, "payload": payload}, ensure_ascii=False)
    headers = "-H \"Authorization: Bearer $SESSION\" -H 'Content-Type: application/json'"
    return {
        "command": f"admin run {kind} --payload {shlex.quote(text)}",
        "replay_command": f"admin replay {replayed} --set FIELD=JSON" if replayed else "",
        "curl": f"curl {public_url}/api/v1/admin/jobs {headers} -d {shlex.quote(body)}",
    }


def _row(kind: engine.Kind, rates: engine.KindRates | None, *, is_everything_paused: bool) -> Row:
    counts = kind["counts"]
    return Row(
        kind=kind,
        is_paused=_is_paused(kind) or is_everything_paused,
        waiting=counts.get("pending", 0) + counts.get("retrying", 0),
        scheduled=counts.get("scheduled", 0),
        running=counts.get("running", 0) + counts.get("cancelling", 0),
        failed=rates["failed"] if rates else 0,
        points=rates["points"] if rates else (),
    )


def _is_paused(kind: engine.Kind | None) -> bool:
    return kind is not None and kind["paused_at"] is not None


def _limits(fields: dict[str, str]) -> kind_pb2.KindLimits:
    """Return the limits of a form; empty: no limit. Raises `InvalidArgument` naming all invalid fields."""
    limits, period, validation = kind_pb2.KindLimits(), Duration(), errors.Validation()
    with validation.field():
        limits.max_running = _count(fields, "max_running", MAX_INT32)
    with validation.field():
        limits.max_running_per_key = _count(fields, "max_running_per_key", MAX_INT32)
    with validation.field():
        limits.rate_count = _count(fields, "rate_count", MAX_INT32)
    with validation.field():
        period.FromTimedelta(timedelta(seconds=_count(fields, "rate_period_seconds", LONGEST_SECONDS)))
    validation.end()
    if limits.rate_count and not period.seconds:
        message = f"A rate needs a period of 1 to {LONGEST_SECONDS:,} seconds."
        raise errors.InvalidArgument(message, field="rate_period_seconds")
    if period.seconds and not limits.rate_count:
        raise errors.InvalidArgument("Enter how many jobs may start in a period.", field="rate_count")
    if period.seconds:
        limits.rate_period.CopyFrom(period)
    return limits


def _count(fields: dict[str, str], field: str, most: int) -> int:
    digits = fields[field].strip()
    if not digits:
        return 0
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 10 and int(digits) <= most):
        raise errors.InvalidArgument(f"Must be a whole number up to {most:,}.", field=field)
    return int(digits)
