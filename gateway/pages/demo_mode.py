"""The settings page of demo mode: its state, and the actions on it."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors, ids
from gateway import idempotency, redirects, views
from gateway.container import Container
from gateway.pages import choices, forms, loaders, page_request
from repruv.demo.v1 import demo_service_pb2

FIELDS = ("profile_type", "niche", "content_count", "interaction_count", "expires")
# Pages that have forms which post here.
_ORIGINS = frozenset({views.DASHBOARD_PATH, views.DEMO_PATH})


class DemoMode:
    """`/settings/demo-mode`."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._secure = container.settings.is_https
        actions = {
            "enable": self.enable,
            "preview": self.preview,
            "disable": self.disable,
            "retry": self.retry,
            "dismiss": self.dismiss,
            "cancel": self.cancel,
        }
        self.routes = [
            Route(views.DEMO_PATH, self.show),
            *(
                Route(f"{views.DEMO_PATH}/{name}", page_request.form_handler(act, self.show), methods=["POST"])
                for name, act in actions.items()
            ),
            # Reloading the address of a form shows the page.
            *(Route(f"{views.DEMO_PATH}/{name}", self.go_to_page) for name in actions),
        ]

    async def show(self, request: Request) -> Response:
        """Show the state of demo mode."""
        return await self._show(request, forms.blank())

    async def go_to_page(self, request: Request) -> Response:
        """Send to the page."""
        return self._see(views.DEMO_PATH)

    async def enable(self, request: Request) -> Response:
        """Ask for demo data."""
        session, sent = await page_request.read_form(request, self._container, *FIELDS, "idempotency_key")
        if mistakes := choices.mistakes(sent):
            return await self._show(request, forms.filled(sent, mistakes), status=422)
        rpc_request = demo_service_pb2.EnableDemoRequest(
            profile_type=sent["profile_type"],
            niche=sent["niche"],
            content_count=choices.count(sent["content_count"]),
            interaction_count=choices.count(sent["interaction_count"]),
            expire_after=choices.expiry(sent["expires"]),
            idempotency_key=_key(sent),
        )
        try:
            accepted = await self._container.demo.enable_demo(rpc_request, user=session.identity)
        except errors.InvalidArgument as error:
            _, mistakes = forms.mistakes_of(error, FIELDS) or (422, {})
            return await self._show(request, forms.filled(sent, mistakes), status=422)
        except errors.Error as error:
            return self._see(views.DEMO_PATH, say=_flash_of(error))
        return self._see(views.DEMO_PATH, say=_flash_of_replay(accepted, "enabling"))

    async def preview(self, request: Request) -> Response:
        """Show the form as it was filled in, and an example of what it would give; nothing happens."""
        session, sent = await page_request.read_form(request, self._container, *FIELDS, "idempotency_key")
        if mistakes := choices.mistakes(sent):
            return await self._show(request, forms.filled(sent, mistakes), status=422)
        try:
            found = await self._container.demo.preview_demo(sent["profile_type"], sent["niche"], user=session.identity)
        except errors.Error as error:
            return self._see(views.DEMO_PATH, say=_flash_of(error))
        return await self._show(request, forms.filled(sent, {}), example=views.demo_example(found))

    async def disable(self, request: Request) -> Response:
        """Ask to remove the demo data."""
        session, sent = await page_request.read_form(request, self._container, "idempotency_key")
        try:
            accepted = await self._container.demo.disable_demo(idempotency_key=_key(sent), user=session.identity)
        except errors.Error as error:
            return self._see(views.DEMO_PATH, say=_flash_of(error))
        return self._see(views.DEMO_PATH, say=_flash_of_replay(accepted, "disabling"))

    async def retry(self, request: Request) -> Response:
        """Reopen the job that failed: the one that the person saw."""
        session, sent = await page_request.read_form(request, self._container, "job_id", "origin")
        try:
            job_id = _job_id(sent)
            call = partial(self._container.jobs.retry_job, job_id, user=session.identity)
            await self._container.pending_jobs.wait(job_id, call, user=session.identity)
        except errors.Error as error:
            return self._see(_origin(sent), say=_flash_of(error))
        return self._see(_origin(sent))

    async def cancel(self, request: Request) -> Response:
        """Stop the job that is under way: the one that the person saw."""
        session, sent = await page_request.read_form(request, self._container, "job_id", "origin")
        try:
            job_id = _job_id(sent)
            call = partial(self._container.jobs.cancel_job, job_id, user=session.identity)
            job = await self._container.pending_jobs.wait(job_id, call, user=session.identity)
        except errors.Error as error:
            return self._see(_origin(sent), say=_flash_of(error))
        return self._see(_origin(sent), say="cancelled" if views.job_state(job) == "cancelled" else "")

    async def dismiss(self, request: Request) -> Response:
        """Move a failed demo mode to disabled."""
        session, sent = await page_request.read_form(request, self._container, "origin")
        try:
            await self._container.demo.dismiss_demo(user=session.identity)
        except errors.Error as error:
            return self._see(_origin(sent), say=_flash_of(error))
        return self._see(_origin(sent), say="dismissed")

    async def _show(
        self, request: Request, form: dict[str, Any], *, example: views.DemoExample | None = None, status: int = 200
    ) -> Response:
        visitor = await page_request.begin(request, self._container)
        context = {
            "demo": await loaders.demo_status(self._container.demo, visitor.identity),
            "choices": choices,
            "example": example,
            "confirm": request.query_params.get("confirm"),
            "form": form,
        }
        return visitor.show("demo_mode", views.DEMO_PATH, context, status=status)

    def _see(self, path: str, *, say: str = "") -> Response:
        return redirects.see(path, say=say, secure=self._secure)


def _key(sent: dict[str, str]) -> str:
    return idempotency.idempotency_key(sent["idempotency_key"] or None)


def _job_id(sent: dict[str, str]) -> str:
    return str(ids.parse(sent["job_id"], "job_id"))


def _origin(sent: dict[str, str]) -> str:
    return sent["origin"] if sent["origin"] in _ORIGINS else views.DEMO_PATH


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
    accepted: demo_service_pb2.EnableDemoResponse | demo_service_pb2.DisableDemoResponse, moving: str
) -> str:
    """Return whether a repeated form (Back, a second click) belongs to a job that is over."""
    is_over = views.demo_state(accepted.demo) != moving
    return "form_used" if accepted.replayed and is_over else ""
