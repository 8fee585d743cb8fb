"""What the next page has to say about what was just done.

A short-lived cookie carries a code; the sentence is ours, so that nobody can make a page say theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

COOKIE = "flash"
LIFETIME_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Flash:
    """A sentence, and how it is meant."""

    kind: Literal["info", "success", "error"]
    message: str


MESSAGES: Mapping[str, Flash] = {
    "signed_out": Flash(kind="info", message="You have signed out."),
    "session_ended": Flash(kind="info", message="Your session has ended. Sign in again to go on."),
    "sign_in_again": Flash(
        kind="info", message="That took too long, or too many codes were wrong. Please sign in again."
    ),
    "password_reset": Flash(
        kind="success",
        message="Your password is set. All sessions have ended, and passkeys were removed. Sign in with it.",
    ),
    "email_verified": Flash(kind="success", message="Your address is verified."),
    "proved": Flash(kind="success", message="Thank you. For the next ten minutes you can change what is sensitive."),
    "password_changed": Flash(kind="success", message="Your password is changed, and all other sessions have ended."),
    "mail_sent": Flash(kind="success", message="A mail has been sent. Follow its link within 24 hours."),
    "factor_disabled": Flash(kind="success", message="Signing in takes no code any more."),
    "passkey_renamed": Flash(kind="success", message="The passkey has its new name."),
    "passkey_removed": Flash(
        kind="success", message="That passkey opens nothing any more. Sessions that it began go on."
    ),
    "passkey_unknown": Flash(kind="info", message="There is no such passkey any more."),
    "session_revoked": Flash(kind="success", message="That session has ended."),
    "others_revoked": Flash(kind="success", message="All other sessions have ended."),
    "everywhere_out": Flash(kind="info", message="You have signed out everywhere."),
    "session_unknown": Flash(kind="info", message="That session had ended before."),
    "factor_changed": Flash(
        kind="error", message="Your second factor had changed in the meantime. This is how it stands now."
    ),
    "disconnecting": Flash(kind="info", message="The access is being taken back."),
    "consent_invalid": Flash(
        kind="error", message="The platform's answer had expired or was not for this session. Please connect again."
    ),
    "connection_unavailable": Flash(
        kind="error", message="That does not work at the moment. Please try again shortly."
    ),
    "connection_changed": Flash(
        kind="error", message="The connection had changed in the meantime. This is how it stands now."
    ),
    "platform_unknown": Flash(kind="error", message="There is no such platform."),
    "cancelled": Flash(kind="info", message="Setting up demo mode was cancelled."),
    "dismissed": Flash(kind="info", message="The failure was dismissed. You can set up demo mode again."),
    "changed": Flash(kind="error", message="Demo mode had changed in the meantime. This is how it stands now."),
    "form_used": Flash(kind="error", message="That form had been sent before, so nothing was done. Please try again."),
    "unavailable": Flash(
        kind="error", message="Demo mode does not answer, so nothing was changed. Please try again in a moment."
    ),
    "unanswered": Flash(
        kind="error", message="There was no answer in time. What you asked for may still have happened."
    ),
    "job_cancelled": Flash(kind="info", message="The job was cancelled."),
    "job_cancelling": Flash(kind="info", message="The job was asked to stop. That takes a moment."),
    "job_retried": Flash(kind="info", message="The job begins again."),
    "job_finished": Flash(kind="error", message="The job had already ended, so there was nothing to cancel."),
    "job_not_retryable": Flash(kind="error", message="The job cannot be retried as it stands now."),
    "job_undoing": Flash(
        kind="error", message="What the job had done is still being undone. Please try again shortly."
    ),
    "job_of_the_same": Flash(kind="error", message="Another job of the same sort is under way."),
    "job_not_ready": Flash(kind="error", message="The job is not submitted yet. Please try again in a moment."),
    "job_unavailable": Flash(
        kind="error", message="Jobs cannot be reached right now, so nothing was changed. Please try again in a moment."
    ),
    "job_unknown": Flash(kind="error", message="There is no such job any more."),
    "kind_paused": Flash(kind="info", message="Paused: nothing of it begins until it is resumed. What runs goes on."),
    "kind_resumed": Flash(kind="info", message="Resumed."),
    "kind_limited": Flash(kind="info", message="The limits were set."),
    "limits_not_valid": Flash(
        kind="error", message="These limits make no sense: whole numbers, and a period of up to a day with a rate."
    ),
    "schedule_paused": Flash(kind="info", message="The schedule is paused."),
    "schedule_resumed": Flash(kind="info", message="The schedule goes on with the next time that comes."),
    "schedule_unknown": Flash(kind="error", message="There is no such schedule any more."),
    "account_changed": Flash(kind="info", message="The role was changed, and all sessions of the account ended."),
    "account_disabled": Flash(kind="info", message="The account is closed, and all its sessions ended."),
    "account_enabled": Flash(kind="info", message="The account is open again."),
    "all_users_signed_out": Flash(kind="info", message="All sessions but this one have ended."),
    "all_users_signed_out_partly": Flash(
        kind="error", message="Many sessions have ended, but some are left. Do it again until none is."
    ),
    "not_confirmed": Flash(kind="error", message="Nothing was done: tick the box to confirm."),
    "account_signed_out": Flash(kind="info", message="The session has ended there."),
    "account_reset_sent": Flash(kind="info", message="The mail to set a new password has been sent."),
    "own_account": Flash(kind="error", message="That cannot be done to your own account."),
    "admin_unavailable": Flash(
        kind="error", message="A part of Repruv does not answer, so nothing was changed. Please try again in a moment."
    ),
    "too_much": Flash(kind="error", message="That was too much at once. Please try again in a moment."),
}


def put(response: Response, code: str, *, secure: bool) -> None:
    """Have the next page say the message of `code`."""
    _set(response, code, LIFETIME_SECONDS, secure=secure)


def take(request: Request) -> Flash | None:
    """Return the flash of a request, if any. The page that shows it must `clear` it."""
    return MESSAGES.get(request.cookies.get(COOKIE, ""))


def clear(response: Response, *, secure: bool) -> None:
    """Have it said no more."""
    _set(response, "", 0, secure=secure)


def _set(response: Response, value: str, max_age: int, *, secure: bool) -> None:
    response.set_cookie(COOKIE, value, max_age=max_age, path="/", secure=secure, httponly=True, samesite="lax")
