"""Page requests of signed-in users: the session, the data that every page shows, and the check of form tokens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from chassis import errors, ids
from gateway import flash, redirects, views
from gateway.container import Container
from gateway.identity import authentication, cookies, sessions
from gateway.middleware import form_tokens
from gateway.pages import forms, loaders, notices, rendering, templating
from gateway.pages.reader import Reader
from repruv.auth.v1 import auth_pb2

logger = logging.getLogger(__name__)

FRAGMENT_HEADER = "X-Fragment"
FRAGMENT = "status"
LIVE_PAGES = frozenset(
    path.relative_to(templating.TEMPLATES).as_posix().removesuffix("_live.html")
    for path in templating.TEMPLATES.rglob("*_live.html")
)
"""Pages with a part that changes while they are open."""
MAX_UNREAD = 5
"""Notifications on every page; the page of notifications has the rest."""
GUEST_SETTINGS = (views.PROFILE_PATH, views.DEMO_PATH)
"""The settings that guests have."""
ACCOUNT_REQUIRED = "account_required"
_FLASH = "flash"

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """A page request of a signed-in user."""

    request: Request
    session: sessions.Session
    reader: Reader
    is_fragment: bool
    """Whether to render only the part that changes while the page is open."""
    last_event_id: str | None
    """Where the page's stream resumes; None: at its newest event."""
    flash: flash.Flash | None
    form_token: str
    unread: views.Notifications | None
    """The latest unread notifications that the user wants on pages; None if they could not be read."""
    demo: views.Json | None
    """The state of demo mode as the badge shows it; None if the page reads it itself."""
    secure: bool

    @property
    def identity(self) -> str:
        """The signed identity for calls to services."""
        return self.session.identity

    def show(self, page: str, path: str, context: dict[str, Any], *, status: int = 200) -> Response:
        """Render the page, or its fragment; `path` is the address of the page."""
        common = {
            "user": views.user(self.session.user),
            "path": path,
            "guest_settings": GUEST_SETTINGS,
            "flash": self.flash,
            "form": forms.blank(),
            "form_token": self.form_token,
            "unread": self.unread,
            "last_event_id": self.last_event_id,
            "idempotency_key": f"page-{ids.uuid7()}",
            "demo": self.demo,
        }
        template = "fragment.html" if self.is_fragment and page in LIVE_PAGES else f"{page}.html"
        response = rendering.answer(
            self.reader, template, {"live_template": f"{page}_live.html", **common, **context}, status
        )
        self.reader.remember(self.request, response, secure=self.secure)
        if self.session.user.role != auth_pb2.USER_ROLE_GUEST:
            is_remembered = self.session.auth_session.is_remembered
            cookies.EmailCookie(secure=self.secure).keep(
                self.request, response, self.session.user.email, is_remembered=is_remembered
            )
        if self.flash is not None:
            flash.clear(response, secure=self.secure)
        return response


async def begin(request: Request, container: Container, *, with_demo: bool = True, is_outage: bool = False) -> Visitor:
    """Load what every page needs. Call it before reading what the page shows. Raises `Unauthenticated`.

    A page that follows demo mode reads it after this, `with_demo=False`: its state must not be older than the cursor.
    During an outage the page does without cursor, notifications and demo mode, and calls nothing for them.
    """
    session = await session_of(request, container)
    _require_account(session, request.url.path)
    is_fragment = request.headers.get(FRAGMENT_HEADER) == FRAGMENT
    cursor, unread, demo = None, None, None
    if not is_outage:
        cursor, unread, demo = await asyncio.gather(
            _cursor(session, container, is_fragment=is_fragment),
            _unread(session, container),
            _demo(session, container) if with_demo else _nothing(),
        )
    return Visitor(
        request=request,
        session=session,
        reader=Reader.of_user(request, session.user),
        is_fragment=is_fragment,
        last_event_id=cursor,
        # A fragment has no place for it: the next whole page shows it.
        flash=None if is_fragment else getattr(request.state, _FLASH, None) or flash.take(request),
        form_token=container.form_tokens.of_session(session.session_id),
        unread=unread,
        demo=demo,
        secure=container.settings.is_https,
    )


def _require_account(session: sessions.Session, path: str) -> None:
    """Raise `PermissionDenied` for a guest at settings that only accounts have."""
    is_guest = session.user.role == auth_pb2.USER_ROLE_GUEST
    if is_guest and path.startswith("/settings/") and not path.startswith(GUEST_SETTINGS):
        raise errors.PermissionDenied("Guests can't do this. Create an account first.", code=ACCOUNT_REQUIRED)


async def session_of(request: Request, container: Container) -> sessions.Session:
    """Return the session of a request. Raises `Unauthenticated`."""
    return await authentication.session_of(request, container.sessions, container.cookie)


async def read_form(request: Request, container: Container, *names: str) -> tuple[sessions.Session, dict[str, str]]:
    """Return the session and the named fields of a form. Raises `Unauthenticated`, `PermissionDenied` `form_expired`."""
    session = await session_of(request, container)
    fields = await forms.read(request, *names, form_tokens.FIELD)
    container.form_tokens.require(container.form_tokens.of_session(session.session_id), fields.pop(form_tokens.FIELD))
    return session, fields


def form_handler(act: Handler, show: Handler, *, flash_codes: Mapping[str, str] | None = None) -> Handler:
    """Wrap the action of a form: an expired form token shows the page again, a missing proof redirects to reauthentication.

    `flash_codes` maps error codes to the flash messages with which the page answers them; other errors are raised.
    """

    async def handle(request: Request) -> Response:
        try:
            return await act(request)
        except errors.PermissionDenied as error:
            if error.code == "reauthentication_required":
                secure = request.app.state.container.settings.is_https
                return redirects.redirect(redirects.to_reauthentication(request), secure=secure)
            if error.code != form_tokens.CODE:
                raise
            setattr(request.state, _FLASH, flash.Flash(kind="error", message=error.message))
            response = await show(request)
            response.status_code = 403
            return response
        except errors.Error as error:
            if flash_codes is None or error.code not in flash_codes:
                raise
            secure = request.app.state.container.settings.is_https
            return redirects.redirect(redirects.page_of(request), flash_code=flash_codes[error.code], secure=secure)

    return handle


async def _cursor(session: sessions.Session, container: Container, *, is_fragment: bool) -> str | None:
    if is_fragment:  # The page that it goes into already has a cursor.
        return None
    try:
        return str(await container.streams.last_sequence(session.user_id))
    except errors.Error as error:
        logger.warning("cursor of the event stream is not available", extra={"cause": error.code})
        return None


async def _demo(session: sessions.Session, container: Container) -> views.Json:
    return await loaders.demo_status(container.demo, session.identity)


async def _nothing() -> None:
    return None


async def _unread(session: sessions.Session, container: Container) -> views.Notifications | None:
    try:
        return await notices.unread(container, session, page_size=MAX_UNREAD, quick=True)
    except errors.Error as error:
        logger.warning("notifications are not available", extra={"cause": error.code})
        return None
