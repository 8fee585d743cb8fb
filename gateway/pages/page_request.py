"""A signed-in person before a page: who it is, what every page shows them, and whether a form is really theirs."""

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
from gateway.identity import authentication, sessions
from gateway.middleware import form_tokens
from gateway.pages import forms, rendering, templating

logger = logging.getLogger(__name__)

FRAGMENT_HEADER = "X-Fragment"
FRAGMENT = "status"
FRAGMENTS = frozenset(
    path.relative_to(templating.TEMPLATES).as_posix().removesuffix("_fragment.html")
    for path in templating.TEMPLATES.rglob("*_fragment.html")
)
UNREAD = 5
"""So many notifications every page knows of; more are on their own page."""
_SAID = "said"

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request for a page by a signed-in person."""

    session: sessions.Session
    is_fragment: bool
    """Whether only the part is wanted that changes while the page is open."""
    last_event_id: str | None
    """Where the page's stream goes on; None: from wherever it stands by then."""
    flash: flash.Flash | None
    form_token: str
    unread: views.Notifications | None
    """What ended and was not read of yet, the latest of it; None when nobody can say."""
    secure: bool

    @property
    def identity(self) -> str:
        """The signed identity for calls to services."""
        return self.session.identity

    def show(self, page: str, path: str, context: dict[str, Any], *, status: int = 200) -> Response:
        """Render the page, or its fragment; `path` is where it can be looked at."""
        common = {
            "user": views.user(self.session.user),
            "path": path,
            "flash": self.flash,
            "form": forms.blank(),
            "form_token": self.form_token,
            "unread": self.unread,
            "last_event_id": self.last_event_id,
            "idempotency_key": f"page-{ids.uuid7()}",
            "demo": None,
        }
        template = f"{page}_fragment.html" if self.is_fragment and page in FRAGMENTS else f"{page}.html"
        response = rendering.answer(template, {**common, **context}, status)
        if self.flash is not None:
            flash.clear(response, secure=self.secure)
        return response


async def begin(request: Request, container: Container) -> Visit:
    """Load what every page needs. Call it before reading what the page shows. Raises `Unauthenticated`."""
    session = await session_of(request, container)
    is_fragment = request.headers.get(FRAGMENT_HEADER) == FRAGMENT
    position, unread = await asyncio.gather(
        _position(session, container, is_fragment=is_fragment), _unread(session, container)
    )
    return Visit(
        session=session,
        is_fragment=is_fragment,
        last_event_id=position,
        # A fragment has no room for it: it stays for the next whole page.
        flash=None if is_fragment else getattr(request.state, _SAID, None) or flash.take(request),
        form_token=container.form_tokens.of_session(session.session_id),
        unread=unread,
        secure=container.settings.is_https,
    )


async def session_of(request: Request, container: Container) -> sessions.Session:
    """Return the session of a request. Raises `Unauthenticated`."""
    return await authentication.session_of(request, container.sessions, container.cookie)


async def read_form(request: Request, container: Container, *names: str) -> tuple[sessions.Session, dict[str, str]]:
    """Return the session and the named fields of a form. Raises `Unauthenticated`, `PermissionDenied` `form_expired`."""
    session = await session_of(request, container)
    sent = await forms.read(request, *names, form_tokens.FIELD)
    container.form_tokens.require(container.form_tokens.of_session(session.session_id), sent.pop(form_tokens.FIELD))
    return session, sent


def form_handler(act: Handler, show: Handler, *, says: Mapping[str, str] | None = None) -> Handler:
    """Make the handler of a form: what is refused leads back to `show`, or to where one proves who one is.

    `says` gives codes of `flash` for codes of errors that the page tells of.
    """

    async def handle(request: Request) -> Response:
        try:
            return await act(request)
        except errors.PermissionDenied as error:
            if error.code == "reauthentication_required":
                secure = request.app.state.container.settings.is_https
                return redirects.see(redirects.to_reauthentication(request), secure=secure)
            if error.code != form_tokens.CODE:
                raise
            setattr(request.state, _SAID, flash.Flash(kind="error", message=error.message))
            response = await show(request)
            response.status_code = 403
            return response
        except errors.Error as error:
            if says is None or error.code not in says:
                raise
            secure = request.app.state.container.settings.is_https
            return redirects.see(redirects.page_of(request), say=says[error.code], secure=secure)

    return handle


async def _position(session: sessions.Session, container: Container, *, is_fragment: bool) -> str | None:
    if is_fragment:  # It goes into a page that has its place already.
        return None
    try:
        return str(await container.streams.position(session.user_id))
    except errors.Error as error:
        logger.warning("the page's place in the events is not known", extra={"cause": error.code})
        return None


async def _unread(session: sessions.Session, container: Container) -> views.Notifications | None:
    try:
        page = await container.jobs.list_notifications(
            page_size=UNREAD, page_token="", user=session.identity, quick=True
        )
    except errors.Error as error:
        logger.warning("what is unread is not known", extra={"cause": error.code})
        return None
    return views.notifications(page)
