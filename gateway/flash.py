"""Messages that the next page shows about an action.

A short-lived cookie carries the code of a fixed message, so that a forged cookie cannot show other text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

COOKIE = "flash"
LIFETIME_SECONDS = 60


Kind = Literal["info", "success", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flash:
    """A message, and its kind."""

    kind: Kind
    message: str


_INFO = {
    "signed_out": "You have signed out.",
    "session_ended": "Your session has ended. Sign in again to go on.",
    "sign_in_again": "That took too long, or too many codes were wrong. Please sign in again.",
    "passkey_unknown": "There is no such passkey any more.",
    "everywhere_out": "You have signed out everywhere.",
    "session_unknown": "That session had ended before.",
    "disconnecting": "The access is being taken back.",
    "cancelled": "Setting up demo mode was cancelled.",
    "dismissed": "The failure was dismissed. You can set up demo mode again.",
    "job_cancelled": "The job was cancelled.",
    "job_cancelling": "The job was asked to stop. That takes a moment.",
    "job_retried": "The job begins again.",
    "kind_paused": "Paused: nothing of it begins until it is resumed. What runs goes on.",
    "kind_resumed": "Resumed.",
    "kind_limited": "The limits were set.",
    "schedule_paused": "The schedule is paused.",
    "schedule_resumed": "The schedule goes on with the next time that comes.",
    "account_changed": "The role was changed, and all sessions of the account ended.",
    "account_disabled": "The account is closed, and all its sessions ended.",
    "account_enabled": "The account is open again.",
    "all_users_signed_out": "All sessions but this one have ended.",
    "account_signed_out": "The session has ended there.",
    "account_reset_sent": "The email to set a new password has been sent.",
    "export_running": "An export is already being made. Cancel it, or wait for its end.",
}
_SUCCESS = {
    "password_reset": "Your password is set. All sessions have ended, and passkeys were removed. Sign in with it.",
    "email_verified": "Your address is verified.",
    "proved": "Thank you. For the next ten minutes you can change what is sensitive.",
    "password_changed": "Your password is changed, and all other sessions have ended.",
    "mail_sent": "An email has been sent. Follow its link within 24 hours.",
    "factor_disabled": "Signing in takes no code any more.",
    "passkey_renamed": "The passkey has its new name.",
    "passkey_removed": "That passkey opens nothing any more. Sessions that it began go on.",
    "session_revoked": "That session has ended.",
    "others_revoked": "All other sessions have ended.",
}
_ERROR = {
    "factor_changed": "Your second factor had changed in the meantime. This is how it stands now.",
    "consent_invalid": "The platform's answer had expired or was not for this session. Please connect again.",
    "connection_unavailable": "That does not work at the moment. Please try again shortly.",
    "connection_changed": "The connection had changed in the meantime. This is how it stands now.",
    "platform_unknown": "There is no such platform.",
    "changed": "Demo mode had changed in the meantime. This is how it stands now.",
    "form_used": "That form had been sent before, so nothing was done. Please try again.",
    "unavailable": "Demo mode does not answer, so nothing was changed. Please try again in a moment.",
    "unanswered": "There was no answer in time. What you asked for may still have happened.",
    "job_finished": "The job had already ended, so there was nothing to cancel.",
    "job_not_retryable": "The job cannot be retried as it stands now.",
    "job_undoing": "What the job had done is still being undone. Please try again shortly.",
    "job_of_the_same": "Another job of the same sort is under way.",
    "job_not_ready": "The job is not submitted yet. Please try again in a moment.",
    "job_unavailable": "Jobs cannot be reached right now, so nothing was changed. Please try again in a moment.",
    "job_unknown": "There is no such job any more.",
    "limits_not_valid": "These limits make no sense: whole numbers, and a period of up to a day with a rate.",
    "bulk_invalid": "These jobs cannot be changed together. Choose failed or unfinished jobs.",
    "schedule_unknown": "There is no such schedule any more.",
    "all_users_signed_out_partly": "Many sessions have ended, but some are left. Do it again until none is.",
    "not_confirmed": "Nothing was done: tick the box to confirm.",
    "own_account": "That cannot be done to your own account.",
    "admin_unavailable": "A part of Repruv does not answer, so nothing was changed. Please try again in a moment.",
    "too_much": "That was too much at once. Please try again in a moment.",
}
_BY_KIND: Mapping[Kind, Mapping[str, str]] = {"info": _INFO, "success": _SUCCESS, "error": _ERROR}
MESSAGES: Mapping[str, Flash] = {
    code: Flash(kind=kind, message=message) for kind, messages in _BY_KIND.items() for code, message in messages.items()
}
"""The messages by code."""


def put(response: Response, code: str, *, secure: bool) -> None:
    """Let the next page show the message of `code`."""
    _set(response, code, LIFETIME_SECONDS, secure=secure)


def take(request: Request) -> Flash | None:
    """Return the flash of a request, if any. The page that shows it must `clear` it."""
    return MESSAGES.get(request.cookies.get(COOKIE, ""))


def clear(response: Response, *, secure: bool) -> None:
    """Delete the cookie."""
    _set(response, "", 0, secure=secure)


def _set(response: Response, value: str, max_age: int, *, secure: bool) -> None:
    response.set_cookie(COOKIE, value, max_age=max_age, path="/", secure=secure, httponly=True, samesite="lax")
