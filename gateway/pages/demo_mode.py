"""The settings page of demo mode: its state, and the actions on it."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors, ids
from gateway import idempotency, labels, views
from gateway.pages import choices, forms, loaders
from gateway.pages.page import Page
from repruv.demo.v1 import demo_service_pb2

FIELDS = choices.FIELDS
SETTLED = ("enabled", "disabled", "failed")
"""States in which the page shows how the latest job has ended."""
logger = logging.getLogger(__name__)
# Pages with forms that post here.
_ORIGINS = frozenset({views.DASHBOARD_PATH, views.DEMO_PATH, views.BREAK_PATH})


class DemoMode(Page):
    """`/settings/demo-mode`."""

    def routes(self) -> list[Route]:
        actions = {
            "enable": self.enable,
            "preview": self.preview,
            "disable": self.disable,
            "retry": self.retry,
            "dismiss": self.dismiss,
            "cancel": self.cancel,
        }
        return self.page_routes(views.DEMO_PATH, self.show, actions)

    async def show(self, request: Request) -> Response:
        return await self._show(request, forms.filled(choices.remembered(request), {}))

    async def enable(self, request: Request) -> Response:
        session, fields = await self.read_form(request, *FIELDS, "idempotency_key")
        if mistakes := choices.mistakes(fields):
            return await self._show(request, forms.filled(fields, mistakes), status=422)
        rpc_request = demo_service_pb2.EnableDemoRequest(
            profile_type=fields["profile_type"],
            niche=fields["niche"],
            content_count=choices.count(fields["content_count"]),
            interaction_count=choices.count(fields["interaction_count"]),
            expire_after=choices.expiry(fields["expires"]),
            idempotency_key=_key(fields),
        )
        try:
            accepted = await self._container.demo.enable_demo.send(session.identity, rpc_request)
        except errors.InvalidArgument as error:
            return await self.show_again(error, fields, partial(self._show, request))
        except errors.Error as error:
            return self.redirect(views.DEMO_PATH, flash_code=_flash_of(error))
        response = self.redirect(views.DEMO_PATH, flash_code=_flash_of_replay(accepted, "enabling"))
        choices.remember(response, fields, secure=self._container.settings.is_https)
        return response

    async def preview(self, request: Request) -> Response:
        """Show the filled form with an example of the data that it would create."""
        session, fields = await self.read_form(request, *FIELDS, "idempotency_key")
        if mistakes := choices.mistakes(fields):
            return await self._show(request, forms.filled(fields, mistakes), status=422)
        try:
            example = await self._container.demo.preview_demo(
                session.identity, profile_type=fields["profile_type"], niche=fields["niche"]
            )
        except errors.Error as error:
            return self.redirect(views.DEMO_PATH, flash_code=_flash_of(error))
        return await self._show(request, forms.filled(fields, {}), example=views.demo_example(example))

    async def disable(self, request: Request) -> Response:
        session, fields = await self.read_form(request, "idempotency_key", "origin")
        try:
            accepted = await self._container.demo.disable_demo(session.identity, idempotency_key=_key(fields))
        except errors.Error as error:
            return self.redirect(_origin(fields), flash_code=_flash_of(error))
        return self.redirect(_origin(fields), flash_code=_flash_of_replay(accepted, "disabling"))

    async def retry(self, request: Request) -> Response:
        """Retry the failed job that the page showed."""
        session, fields = await self.read_form(request, "job_id", "origin")
        try:
            job_id = _job_id(fields)
            call = partial(self._container.jobs.retry_job, session.identity, job_id=job_id)
            await self._container.pending_jobs.wait(job_id, call, identity=session.identity)
        except errors.Error as error:
            return self.redirect(_origin(fields), flash_code=_flash_of(error))
        return self.redirect(_origin(fields))

    async def cancel(self, request: Request) -> Response:
        """Cancel the unfinished job that the page showed."""
        session, fields = await self.read_form(request, "job_id", "origin")
        try:
            job_id = _job_id(fields)
            call = partial(self._container.jobs.cancel_job, session.identity, job_id=job_id)
            response = await self._container.pending_jobs.wait(job_id, call, identity=session.identity)
        except errors.Error as error:
            return self.redirect(_origin(fields), flash_code=_flash_of(error))
        return self.redirect(
            _origin(fields), flash_code="cancelled" if views.job_state(response.job) == "cancelled" else ""
        )

    async def dismiss(self, request: Request) -> Response:
        """Move a failed demo mode to disabled."""
        session, fields = await self.read_form(request, "origin")
        try:
            await self._container.demo.dismiss_demo(session.identity)
        except errors.Error as error:
            return self.redirect(_origin(fields), flash_code=_flash_of(error))
        return self.redirect(_origin(fields), flash_code="dismissed")

    async def _show(
        self, request: Request, form: dict[str, Any], *, example: views.DemoExample | None = None, status: int = 200
    ) -> Response:
        visitor = await self.begin(request, with_demo=False)
        demo = await loaders.demo_status(self._container.demo, visitor.identity)
        if demo["status"] in SETTLED:
            visitor = await self.without_notices(visitor, demo["job_id"])
        context = {
            "demo": demo,
            "choices": choices,
            "example": example,
            "can_break": self._container.breaks is not None,
            "confirm": request.query_params.get("confirm"),
            "waits_for": await self._waits_for(demo, visitor.identity),
            "form": form,
        }
        return visitor.show("demo_mode", views.DEMO_PATH, context, status=status)

    async def _waits_for(self, demo: views.Json, identity: str) -> str:
        """Return what the job of a transition waits for; empty if it runs, or if that cannot be read."""
        job_id, status = demo["job_id"], demo["job_status"]
        if status not in ("pending", "retrying"):
            return ""
        try:
            history = await self._container.jobs.get_job_history.quick(identity, job_id=job_id)
        except errors.Error as error:
            logger.info("the place of a job could not be read", extra={"cause": error.code})
            return ""
        return labels.waits_for(status, views.job_history(job_id, history))


def _key(fields: dict[str, str]) -> str:
    return idempotency.idempotency_key(fields["idempotency_key"] or None)


def _job_id(fields: dict[str, str]) -> str:
    return str(ids.parse(fields["job_id"], "job_id"))


def _origin(fields: dict[str, str]) -> str:
    return fields["origin"] if fields["origin"] in _ORIGINS else views.DEMO_PATH


def _flash_of(error: errors.Error) -> str:
    """Return the flash code of `error`, or raise it again if it has none."""
    match error:
        case errors.AlreadyExists():
            return "form_used"
        case errors.FailedPrecondition() | errors.Aborted() | errors.NotFound():
            return "changed"
        case errors.DeadlineExceeded():
            return "unanswered"
        case errors.Unavailable():
            return "unavailable"
        case errors.ResourceExhausted():
            return "too_much"
    raise error


def _flash_of_replay(
    accepted: demo_service_pb2.EnableDemoResponse | demo_service_pb2.DisableDemoResponse, transitional: str
) -> str:
    """Return whether a repeated form (Back, a second click) belongs to a job that is over."""
    is_over = views.demo_state(accepted.demo) != transitional
    return "form_used" if accepted.replayed and is_over else ""
