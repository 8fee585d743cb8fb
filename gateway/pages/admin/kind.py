"""A kind of jobs: its limits and changes, and the forms that submit a job of it or schedule it."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from functools import partial
from typing import Any

from google.protobuf.duration_pb2 import Duration
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors, ids, protobuf
from gateway import flash, inputs, payloads
from gateway.pages import forms, page_request
from gateway.pages.admin import job_query, payload_form, people, schedules
from gateway.pages.admin.admin_page import AdminPage
from gateway.views import engine
from repruv.jobs.v1 import admin_service_pb2, kind_pb2

LIMITS = ("max_running", "max_running_per_key", "rate_count", "rate_period_seconds")
MAX_INT32 = 2**31 - 1
LONGEST_SECONDS = 86_400


class KindPage(AdminPage):
    """`/admin/kinds/{kind}`."""

    def routes(self) -> list[Route]:
        return self.page_routes(
            "/admin/kinds/{kind}", self.show, {"limits": self.limit, "run": self.run, "schedule": self.schedule}
        )

    async def show(
        self, request: Request, form: dict[str, Any] | None = None, *, status: int = 200, replayed: str = ""
    ) -> Response:
        """Show the kind, its limits, and the form of a job: empty, or filled from the job that is replayed."""
        visitor = await self.begin(request)
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
        context = {
            "kind": details["kind"],
            "changes": details["changes"],
            "addresses": addresses,
            "is_everything_paused": is_everything_paused,
            "fields": fields,
            "has_sensitive": bool(details["sensitive_fields"]),
            "replayed": job_id,
            "owner": owner,
            "job_id": str(ids.uuid7()),
            "form": form or forms.blank(),
            **_snippets(
                self._container.settings.public_url,
                name,
                {field: value for field, value in payload.items() if field not in details["sensitive_fields"]},
                job_id,
            ),
        }
        return visitor.show("admin/kind", _path(request), context, status=status)

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

    async def run(self, request: Request) -> Response:
        """Submit a job and show it; show the form again if a field is invalid."""
        visitor = await self.begin(request)
        form, values = await self._read_payload_form(request, visitor, "job_id", "owner", "run_at", "replayed")
        identity = visitor.identity
        try:
            rpc_request = admin_service_pb2.RunJobRequest(
                job_id=str(ids.parse(values["job_id"], "job_id")), kind=request.path_params["kind"]
            )
            validation = errors.Validation()
            with validation.field():
                rpc_request.payload.CopyFrom(payloads.to_struct(payload_form.read(form, values)))
            with validation.field():
                rpc_request.owner_id = await self._owner_id(values["owner"], identity)
            with validation.field():
                if moment := _moment(values["run_at"], visitor.reader.zone):
                    rpc_request.run_at.FromDatetime(moment)
            validation.end()
            job = (await self._container.engine.run_job.send(identity, rpc_request)).job
        except errors.Error as error:
            return await self._show_again(request, error, values, form)
        return self.redirect(f"/jobs/{job.job_id}")

    async def schedule(self, request: Request) -> Response:
        """Create a schedule and show it; show the form again if a field is invalid."""
        visitor = await self.begin(request)
        form, values = await self._read_payload_form(request, visitor, "name", *schedules.TIMES, "replayed")
        try:
            registration = schedules.registration(
                values["name"].strip(), request.path_params["kind"], payload_form.read(form, values), values
            )
            await schedules.require_new(self._container, registration.name, visitor.identity)
            await self._container.engine.set_schedule(visitor.identity, registration=registration)
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

    async def _read_payload_form(
        self, request: Request, visitor: page_request.Visitor, *names: str
    ) -> tuple[Sequence[payload_form.Field], dict[str, str]]:
        """Return the fields of the payload, which follow from what only admins read, and the values of the form."""
        details = await self._details(request, visitor.identity)
        form = payload_form.fields(details["payload_schema"], {}, details["sensitive_fields"])
        _, values = await self.read_form(request, *(field.key for field in form), *names)
        return form, values

    async def _show_again(
        self, request: Request, error: errors.Error, values: dict[str, str], form: Sequence[payload_form.Field]
    ) -> Response:
        if isinstance(error, errors.InvalidArgument):
            keys = {field.name: field.key for field in form}
            error = errors.InvalidArgument(
                error.message, field=keys.get(error.field, error.field), details=error.details
            )
        show = partial(self.show, request, replayed=values["replayed"])
        return await self.show_again(error, payload_form.visible(form, values), show)

    async def limit(self, request: Request) -> Response:
        """Replace the limits of a kind; show the form again if one is invalid."""
        session, fields = await self.read_form(request, *LIMITS)
        name = request.path_params["kind"]
        try:
            await self._container.engine.set_kind_limits(session.identity, kind=name, limits=_limits(fields))
        except errors.InvalidArgument as error:
            return await self.show_again(error, fields, partial(self.show, request))
        return self.redirect(_path(request), flash_code=flash.about("kind_limited", name))


def _path(request: Request) -> str:
    return f"/admin/kinds/{request.path_params['kind']}"


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
