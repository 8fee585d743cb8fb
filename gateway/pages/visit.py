"""A signed-in person before a page: who it is, and what every page shows them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from chassis import errors, ids
from gateway import parts, sessions, views
from gateway.pages import flash, forms, rendering

logger = logging.getLogger(__name__)

FRAGMENT_HEADER = "X-Fragment"
FRAGMENT = "status"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request for a page by a signed-in person."""

    session: sessions.Session
    is_fragment: bool
    """Whether only the part is wanted that changes while the page is open."""
    last_event_id: str | None
    """Where the page's stream goes on; None: from wherever it stands by then."""
    flash: flash.Flash | None
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
            "last_event_id": self.last_event_id,
            "idempotency_key": f"page-{ids.uuid7()}",
        }
        template = f"{page}_fragment.html" if self.is_fragment else f"{page}.html"
        response = rendering.answer(template, {**common, **context}, status)
        if self.flash is not None:
            flash.clear(response, secure=self.secure)
        return response


async def begin(request: Request, assembled: parts.Parts) -> Visit:
    """Say who looks at a page. Call it before reading what the page shows. Raises `Unauthenticated`."""
    session = await session_of(request, assembled)
    is_fragment = request.headers.get(FRAGMENT_HEADER) == FRAGMENT
    return Visit(
        session=session,
        is_fragment=is_fragment,
        last_event_id=None if is_fragment else await _position(session, assembled),
        # A fragment has no room for it: it stays for the next whole page.
        flash=None if is_fragment else flash.take(request),
        secure=assembled.settings.is_https,
    )


async def session_of(request: Request, assembled: parts.Parts) -> sessions.Session:
    """Give the session of a request. Raises `Unauthenticated`."""
    return await assembled.sessions.validate(sessions.token_of(request, assembled.cookie))


async def _position(session: sessions.Session, assembled: parts.Parts) -> str | None:
    try:
        return str(await assembled.streams.position(session.user_id))
    except errors.Error as error:
        logger.warning("the page's place in the events is not known", extra={"cause": error.code})
        return None
