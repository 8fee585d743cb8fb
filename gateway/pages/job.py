"""The page of one job: its state, what it went through, and for operators what its handler logged and raised."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors, protobuf, tracing
from gateway import flash, inputs, labels, redirects, views
from gateway.pages import current_jobs, jobs, loaders, timeline, waterfall
from gateway.pages.admin import people
from gateway.pages.page import Page
from gateway.views import engine
from repruv.auth.v1 import auth_pb2
from repruv.jobs.v1 import admin_service_pb2, job_pb2, jobs_service_pb2

PATH = f"{jobs.PATH}/{{job_id}}"
CHILDREN = 50
LINES = 200
HOLDABLE = frozenset({"scheduled", "pending", "retrying"})
NOTHING_FOR_OTHERS: Mapping[str, object] = {
    "payload": "",
    "result_json": "",
    "failures": [],
    "holder_id": "",
    "holder": None,
    "trace_id": "",
    "trace_url": "",
}
"""What readers see who are no operators, in place of `_for_operators`."""
logger = logging.getLogger(__name__)
_IDENTIFIER = re.compile(r"[a-z]+(_[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a result: text, or JSON for an object or a list."""

    name: str
    text: str
    is_json: bool


class Job(Page):
    """`/jobs/{job_id}`."""

    def routes(self) -> list[Route]:
        actions = {"cancel": self.cancel, "retry": self.retry, "hold": self.hold, "release": self.release}
        return self.page_routes(PATH, self.show, actions, jobs.FLASH_CODES)

    async def show(self, request: Request) -> Response:
        visitor = await self.begin(request, with_demo=False)
        job_id = _job_id(request)
        job = await self._container.pending_jobs.get_job(job_id, identity=visitor.identity)
        is_operator = visitor.session.user.role == auth_pb2.USER_ROLE_ADMIN
        is_own = job.spec.owner_id == visitor.session.user_id
        history, (parent, children), demo, log, owners, connections = await asyncio.gather(
            self._history(job_id, visitor.identity),
            self._family(job, visitor.identity),
            loaders.demo_status(self._container.demo, visitor.identity),
            self._log(job_id, request.query_params.get("log", ""), visitor.identity) if is_operator else _nothing(),
            people.addresses(self._container, [job.spec.owner_id], identity=visitor.identity)
            if not is_own
            else _nothing(),
            self._connections(job, visitor.identity),
        )
        view = views.job(job)
        if is_own and view["status"] in views.FINISHED:
            visitor = await self.without_notices(visitor, job_id)
        past = views.job_history(job_id, history)
        context = {
            "demo": demo,
            "job": view,
            "is_own": is_own,
            "is_operator": is_operator,
            "waits_for": labels.waits_for(view["status"], past),
            "can_retry": view["retryable"]
            and (job.spec.kind != views.BULK or is_operator)
            and await self._is_retry_useful(job, demo, connections, is_own=is_own, identity=visitor.identity),
            "can_cancel": view["cancellable"],
            "can_hold": is_operator and view["status"] in HOLDABLE and not view["on_hold"],
            "can_release": is_operator and view["on_hold"],
            "is_for_admins": job.spec.kind == views.BULK and not is_operator,
            "is_legacy": job.spec.kind.startswith(views.LEGACY),
            "is_asking": request.query_params.get("ask") == "cancel",
            "waterfall": waterfall.build(view, past, children),
            "entries": timeline.entries(past),
            "children": children,
            "parent": parent,
            "output": labels.output(view) if is_own else None,
            "platform": next((each["title"] for each in connections or () if each["job_id"] == job.job_id), ""),
            "fields": _fields(view["result"]),
            "log": log,
            "owner_id": "" if is_own else job.spec.owner_id,
            "owner": (owners or {}).get(job.spec.owner_id, ""),
            "held_at": views.time(history.changes[0].time) if view["on_hold"] and history.changes else None,
            **(await self._for_operators(job, view, history, visitor.identity) if is_operator else NOTHING_FOR_OTHERS),
        }
        return visitor.show("job", f"{jobs.PATH}/{job_id}", context)

    async def _for_operators(
        self, job: job_pb2.Job, view: views.Job, history: jobs_service_pb2.GetJobHistoryResponse, identity: str
    ) -> dict[str, object]:
        """Return what only operators see."""
        holder_id = history.changes[0].actor_id if view["on_hold"] and history.changes else ""
        holders = await people.addresses(self._container, [holder_id], identity=identity)
        trace_id = tracing.trace_id(job.spec.traceparent)
        return {
            "payload": json_text(protobuf.from_struct(job.spec.payload)) if job.spec.payload else "",
            "result_json": json_text(view["result"]) if view["result"] else "",
            "failures": _failures(history),
            "holder_id": holder_id,
            "holder": holders.get(holder_id),
            "trace_id": trace_id,
            "trace_url": self._container.settings.trace_url.replace("{trace_id}", trace_id) if trace_id else "",
        }

    async def _is_retry_useful(
        self,
        job: job_pb2.Job,
        demo: views.Json,
        connections: Sequence[views.Connection] | None,
        *,
        is_own: bool,
        identity: str,
    ) -> bool:
        """Return whether no newer job has replaced this one, and whether an undo job still has work."""
        if not await current_jobs.has_work_to_undo(self._container, job, identity=identity):
            return False
        if is_own:
            return current_jobs.is_current(job, demo, connections)
        return not await current_jobs.is_replaced(self._container, job, identity=identity)

    async def cancel(self, request: Request) -> Response:
        return await self._act(request, self._container.jobs.cancel_job, "job_cancelled")

    async def retry(self, request: Request) -> Response:
        """Reopen the job, unless a newer one has replaced it."""
        return await self._act(request, partial(current_jobs.retry, self._container), "job_retried")

    async def hold(self, request: Request) -> Response:
        """Put the job on hold; only admins may."""
        return await self._act(request, self._container.engine.hold_job, "job_on_hold")

    async def release(self, request: Request) -> Response:
        """End its hold; only admins may."""
        return await self._act(request, self._container.engine.release_job, "job_released")

    async def _act(self, request: Request, act: jobs.JobAction, flash_code: str) -> Response:
        session, fields = await self.read_form(request, "origin")
        job_id = _job_id(request)
        call = partial(act, session.identity, job_id=job_id)
        response = await self._container.pending_jobs.wait(job_id, call, identity=session.identity)
        if views.job_state(response.job) == "cancelling":
            flash_code = "job_cancelling"
        flash_code = flash.about(flash_code, response.job.spec.kind)
        return self.redirect(redirects.local(fields["origin"]) or f"{jobs.PATH}/{job_id}", flash_code=flash_code)

    async def _history(self, job_id: str, identity: str) -> jobs_service_pb2.GetJobHistoryResponse:
        try:
            return await self._container.jobs.get_job_history(identity, job_id=job_id)
        except errors.NotFound:
            # The job is accepted but not submitted yet.
            return jobs_service_pb2.GetJobHistoryResponse()

    async def _log(self, job_id: str, page_token: str, identity: str) -> engine.LogLines:
        call = partial(self._container.engine.list_log_lines, identity, job_id=job_id, page_size=LINES)
        try:
            return engine.log_lines(await call(page_token=page_token))
        except errors.NotFound:
            return engine.log_lines(admin_service_pb2.ListLogLinesResponse())
        except errors.InvalidArgument:
            # A token of another job: the newest lines instead.
            return engine.log_lines(await call(page_token=""))

    async def _children(self, job: job_pb2.Job, identity: str) -> list[views.Job]:
        if not job.HasField("children"):
            return []
        rpc_request = jobs_service_pb2.ListJobsRequest(
            owner_id=job.spec.owner_id, parent_id=job.job_id, page_size=CHILDREN
        )
        return [views.job(child) for child in (await self._container.jobs.list_jobs.send(identity, rpc_request)).jobs]

    async def _family(self, job: job_pb2.Job, identity: str) -> tuple[views.Job | None, list[views.Job]]:
        return await self._parent(job, identity), await self._children(job, identity)

    async def _parent(self, job: job_pb2.Job, identity: str) -> views.Job | None:
        if not job.spec.parent_id:
            return None
        try:
            return views.job((await self._container.jobs.get_job(identity, job_id=job.spec.parent_id)).job)
        except errors.NotFound:
            return None

    async def _connections(self, job: job_pb2.Job, identity: str) -> list[views.Connection] | None:
        if not current_jobs.is_connection(job):
            return None
        return await loaders.connections(self._container.connections, identity)


def json_text(value: object) -> str:
    """Return JSON as people read it."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _fields(result: Mapping[str, object] | None) -> Sequence[Field]:
    return [_field(name, value) for name, value in sorted((result or {}).items())]


def _field(name: str, value: object) -> Field:
    match value:
        case bool():
            text = "Yes" if value else "No"
        case int() | float():
            text = f"{value:,}"
        case None | "":
            text = "–"
        case str():
            text = labels.words(value) if _IDENTIFIER.fullmatch(value) else value
        case _:
            return Field(name=name, text=json_text(value), is_json=True)
    return Field(name=name, text=text, is_json=False)


def _failures(history: jobs_service_pb2.GetJobHistoryResponse) -> list[engine.AttemptRecord]:
    """Return the attempts that raised, the newest first."""
    records = map(engine.attempt_record, reversed(history.attempts))
    return [record for record in records if record["exception"]][: waterfall.MAX_ATTEMPTS]


def _job_id(request: Request) -> str:
    return inputs.parse_id(request.path_params["job_id"], "job")


async def _nothing() -> None:
    return None
