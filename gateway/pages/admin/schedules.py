"""Schedules: recurring jobs and when they run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors, ids
from gateway import flash, payloads
from gateway.container import Container
from gateway.pages import forms
from gateway.pages.admin import payload_form
from gateway.pages.admin.admin_page import AdminPage
from gateway.views import engine
from repruv.jobs.v1 import kind_pb2

PATH = "/admin/schedules"
TIMES = ("cron", "time_zone", "overlap")


class Schedules(AdminPage):
    """`/admin/schedules` and `/admin/schedules/{name}`."""

    def routes(self) -> list[Route]:
        actions = {"pause": self.pause, "resume": self.resume, "trigger": self.trigger}
        flash_codes = {"schedule_not_found": "schedule_unknown", "schedule_registered": "schedule_registered"}
        return [
            *self.page_routes(PATH, self.show, actions, flash_codes),
            Route(f"{PATH}/{{name}}/confirm", self.confirm),
            *self.page_routes(
                f"{PATH}/{{name}}", self.show_one, {"save": self.save, "delete": self.delete}, flash_codes
            ),
        ]

    async def show(self, request: Request) -> Response:
        visitor = await self.begin(request)
        schedules = [
            engine.schedule(schedule)
            for schedule in (await self._container.engine.list_schedules(visitor.identity)).schedules
        ]
        # One id a form: a form sent twice submits one job.
        job_ids = {schedule["name"]: str(ids.uuid7()) for schedule in schedules}
        return visitor.show("admin/schedules", PATH, {"schedules": schedules, "fresh": job_ids})

    async def show_one(self, request: Request, form: dict[str, Any] | None = None, *, status: int = 200) -> Response:
        """Show one schedule: its next and its latest times, and the form that changes it."""
        visitor = await self.begin(request)
        details, kind = await self._with_kind(request, visitor.identity)
        context = {
            "details": details,
            "schedule": details["schedule"],
            "runs": _runs(details),
            "fields": payload_form.fields(kind["payload_schema"], details["payload"], kind["sensitive_fields"]),
            "has_sensitive": bool(kind["sensitive_fields"]),
            "job_id": str(ids.uuid7()),
            "form": form or forms.blank(),
        }
        return visitor.show("admin/schedule", _path(request), context, status=status)

    async def confirm(self, request: Request) -> Response:
        """Ask before a schedule is deleted."""
        visitor = await self.begin(request)
        details = await self._details(request, visitor.identity)
        coming = len(details["next_at"])
        context = {
            "question": f"Delete {details['schedule']['name']}?",
            "facts": [
                "No further job is submitted." if coming else "It is paused, so no job is due.",
                "Its jobs stay until the retention of their type.",
            ],
            "button": "Delete schedule",
            "action": f"{_path(request)}/delete",
            "fields": {},
            "back": _path(request),
        }
        return visitor.show("admin/confirm", f"{_path(request)}/confirm", context)

    async def save(self, request: Request) -> Response:
        """Change a schedule of operators; show the form again if a field is invalid."""
        visitor = await self.begin(request)
        details, kind = await self._with_kind(request, visitor.identity)
        form = payload_form.fields(kind["payload_schema"], {}, kind["sensitive_fields"])
        session, values = await self.read_form(request, *(field.key for field in form), *TIMES)
        schedule = details["schedule"]
        if not schedule["is_of_operator"]:
            return self.redirect(_path(request), flash_code="schedule_registered")
        # An empty sensitive field keeps its value.
        masked = {name: payload_form.MASK for name in kind["sensitive_fields"] if name in details["payload"]}
        sent = {
            field.key: values[field.key] or masked.get(field.name, "") if field.is_sensitive else values[field.key]
            for field in form
        }
        try:
            payload = {**masked, **payload_form.read(form, sent)}
            message = registration(schedule["name"], schedule["kind"], payload, values)
            message.catch_up = kind_pb2.CatchUp.Value(f"CATCH_UP_{schedule['catch_up'].upper()}")
            await self._container.engine.set_schedule(session.identity, registration=message)
        except errors.Error as error:
            visible = payload_form.visible(form, values)
            return await self.show_again(error, visible, partial(self.show_one, request))
        return self.redirect(_path(request), flash_code=flash.about("schedule_saved", request.path_params["name"]))

    async def delete(self, request: Request) -> Response:
        """Delete a schedule of operators."""
        session, _ = await self.read_form(request)
        await self._container.engine.delete_schedule(session.identity, name=request.path_params["name"])
        return self.redirect(PATH, flash_code=flash.about("schedule_deleted", request.path_params["name"]))

    async def pause(self, request: Request) -> Response:
        session, fields = await self.read_form(request, "name")
        await self._container.engine.pause_schedule(session.identity, name=fields["name"])
        return self.redirect(PATH, flash_code=flash.about("schedule_paused", fields["name"]))

    async def resume(self, request: Request) -> Response:
        session, fields = await self.read_form(request, "name")
        await self._container.engine.resume_schedule(session.identity, name=fields["name"])
        return self.redirect(PATH, flash_code=flash.about("schedule_resumed", fields["name"]))

    async def trigger(self, request: Request) -> Response:
        """Submit a job of a schedule now and show it."""
        session, fields = await self.read_form(request, "name", "job_id")
        job_id = str(ids.parse(fields["job_id"], "job_id"))
        job = (await self._container.engine.trigger_schedule(session.identity, name=fields["name"], job_id=job_id)).job
        return self.redirect(f"/jobs/{job.job_id}")

    async def _with_kind(self, request: Request, identity: str) -> tuple[engine.ScheduleDetails, engine.KindDetails]:
        details = await self._details(request, identity)
        kind = await self._container.engine.get_kind(identity, kind=details["schedule"]["kind"])
        return details, engine.kind_details(kind)

    async def _details(self, request: Request, identity: str) -> engine.ScheduleDetails:
        response = await self._container.engine.get_schedule(identity, name=request.path_params["name"])
        return engine.schedule_details(response)


def _runs(details: engine.ScheduleDetails) -> list[engine.ScheduleRun]:
    """Return the latest times, without those before the first that has a job: the schedule may not have existed then."""
    runs = details["runs"]
    while runs and not runs[-1]["job_id"]:
        runs = runs[:-1]
    return runs


def registration(
    name: str, kind: str, payload: Mapping[str, object], values: Mapping[str, str]
) -> kind_pb2.ScheduleRegistration:
    """Return the schedule of a form. Raises `InvalidArgument`."""
    if values["overlap"] not in engine.OVERLAPS:
        raise errors.InvalidArgument("Choose one of the values.", field="overlap")
    return kind_pb2.ScheduleRegistration(
        name=name,
        kind=kind,
        payload=payloads.to_struct(payload),
        cron=values["cron"].strip(),
        time_zone=values["time_zone"].strip(),
        overlap=engine.OVERLAPS[values["overlap"]],
    )


async def require_new(container: Container, name: str, identity: str) -> None:
    """Raise `InvalidArgument` if there is a schedule of this name: a new one must not replace it."""
    schedules = (await container.engine.list_schedules(identity)).schedules
    if any(schedule.registration.name == name for schedule in schedules):
        raise errors.InvalidArgument("A schedule with this name exists. Choose another name.", field="name")


def _path(request: Request) -> str:
    return f"{PATH}/{request.path_params['name']}"
