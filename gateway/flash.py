"""Messages that the next page shows about an action.

A short-lived cookie carries the code of a fixed message, and for some the name of a job type or schedule, so that a forged
cookie cannot show other text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from gateway import labels

COOKIE = "flash"
LIFETIME_SECONDS = 60
_SEPARATOR = ":"
_PLACE = "{subject}"
_SUBJECT = re.compile(r"\*|[a-z0-9_.-]{1,100}")
"""The name of a kind or a schedule, or all kinds."""

Kind = Literal["info", "success", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flash:
    kind: Kind
    message: str


_INFO = {
    "signed_out": "You're signed out.",
    "signed_out_here": "You're signed out in this browser. The session could not be ended: "
    "sign in later, and end it in the settings.",
    "session_ended": "Your session has ended. Sign in again.",
    "sign_in_again": "Signing in took too long, or too many codes were incorrect. Sign in again.",
    "passkey_unknown": "This passkey was already removed.",
    "everywhere_out": "You're signed out on all devices.",
    "session_unknown": "This session had already ended.",
    "token_unknown": "This API token was already revoked.",
    "consent_declined": "You declined access at the platform. Nothing was connected.",
    "disconnecting": "Disconnecting…",
    "cancelled": "Enabling demo mode was cancelled.",
    "dismissed": "Failure dismissed. You can enable demo mode again.",
    "job_cancelled": "Job cancelled: {subject}.",
    "job_cancelling": "Cancellation requested: {subject}. The job stops in a moment.",
    "job_retried": "Retry queued: {subject}.",
    "job_on_hold": "On hold: {subject}. It starts when you release it.",
    "job_released": "Released: {subject}.",
    "kind_paused": "Paused: {subject}. Running jobs will finish; new ones wait until you resume it.",
    "kind_resumed": "Resumed: {subject}.",
    "kind_limited": "Limits saved: {subject}.",
    "schedule_saved": "Schedule saved: {subject}.",
    "schedule_deleted": "Schedule deleted: {subject}. Its jobs remain.",
    "schedule_paused": "Schedule paused: {subject}.",
    "schedule_resumed": "Schedule resumed at its next time: {subject}.",
    "account_changed": "Role changed. All sessions of the account ended.",
    "account_disabled": "Account disabled. All its sessions ended.",
    "account_deleting": "The account will be deleted. All its sessions ended.",
    "account_stays": "The account will not be deleted.",
    "account_enabled": "Account enabled.",
    "all_users_signed_out": "All users are signed out. Your session here continues.",
    "account_signed_out": "The user is signed out on all devices.",
    "account_token_revoked": "API token revoked.",
    "account_factor_removed": "Two-step verification is off. All sessions of the account ended.",
    "account_reset_sent": "Password reset email sent.",
    "account_required": "Guests can't do this. Create an account first.",
    "export_running": "An export is already running. Wait for it to finish, or cancel it.",
}
_SUCCESS = {
    "password_reset": "Password set. All sessions and API tokens ended and all passkeys were removed. "
    "Sign in with the new password.",
    "email_verified": "Email address verified.",
    "email_changed": "Email address changed.",
    "email_change_sent": "We sent a link to the new address. Open it within 24 hours to finish the change.",
    "email_change_cancelled": "Change of address cancelled.",
    "email_kept": "Your email address stays the same, and all devices are signed out. Set a new password now.",
    "account_kept": "Your account will not be deleted.",
    "profile_saved": "Profile saved.",
    "notification_settings_saved": "Notification settings saved.",
    "proved": "Confirmed for 10 minutes.",
    "password_changed": "Password changed. All other sessions and API tokens ended.",
    "mail_sent": "Email sent. Open the link in it within 24 hours.",
    "factor_disabled": "Two-step verification turned off.",
    "passkey_renamed": "Passkey renamed.",
    "passkey_removed": "Passkey removed. Sessions it started stay signed in.",
    "session_revoked": "Session signed out.",
    "token_revoked": "API token revoked. Programs can no longer use it.",
    "others_revoked": "All other sessions signed out.",
}
_ERROR = {
    "factor_changed": "Your two-step verification changed in the meantime. This page shows its current state.",
    "consent_invalid": "The platform's response expired or belongs to another session. Connect again.",
    "connection_unavailable": "Connections are temporarily unavailable. Try again in a minute.",
    "connection_changed": "The connection changed in the meantime. This page shows its current state.",
    "platform_unknown": "This platform is not available.",
    "changed": "Demo mode changed in the meantime. This page shows its current state.",
    "form_used": "This form was already sent. Nothing was changed. Try again.",
    "unavailable": "Demo mode isn't responding. Nothing was changed. Try again in a moment.",
    "unanswered": "This took too long. The change may still have been made; check before you try again.",
    "job_finished": "The job had already finished.",
    "admin_required": "Only admins can do that.",
    "job_not_retryable": "This job can't be retried: it isn't failed or cancelled, it ran in the previous system, or it "
    "would undo work that was retried.",
    "job_not_holdable": "This job can't be put on hold: it is running or has finished.",
    "job_replaced": "A newer job has replaced this one, so it can't be retried.",
    "job_undoing": "The job's changes are still being undone. Try again in a moment.",
    "job_of_the_same": "Another job of this type is running.",
    "job_not_ready": "The job isn't submitted yet. Try again in a moment.",
    "job_unavailable": "Jobs aren't responding. Nothing was changed. Try again in a moment.",
    "job_unknown": "This job no longer exists.",
    "bulk_invalid": "These jobs cannot be changed together. Choose failed or unfinished jobs.",
    "schedule_registered": "Workers register this schedule. You can pause it, but not change it here.",
    "schedule_unknown": "This schedule no longer exists.",
    "all_users_signed_out_partly": "Many sessions ended, but some are left. Sign out all users again.",
    "not_confirmed": "Nothing was changed. Tick the box to confirm.",
    "admin_account": "The account of an admin can't be deleted. Revoke the admin rights first.",
    "deletion_pending": "This account is being deleted. It can no longer be changed.",
    "own_account": "You can't do this to your own account.",
    "admin_unavailable": "A part of Repruv isn't responding. Nothing was changed. Try again in a moment.",
    "break_running": "Another part is still down. Wait until it is back.",
    "break_too_soon": "Wait 3 seconds between two breaks.",
    "nothing_to_break": "No demo job is running now. Nothing was broken.",
    "launcher_unavailable": "The launcher didn't respond. Is make up still running?",
    "too_much": "Too many requests. Try again in a moment.",
}
_BY_KIND: Mapping[Kind, Mapping[str, str]] = {"info": _INFO, "success": _SUCCESS, "error": _ERROR}
MESSAGES: Mapping[str, Flash] = {
    code: Flash(kind=kind, message=message) for kind, messages in _BY_KIND.items() for code, message in messages.items()
}
"""The messages by code."""


def put(response: Response, code: str, *, secure: bool) -> None:
    """Let the next page show the message of `code`."""
    _set(response, code, LIFETIME_SECONDS, secure=secure)


def about(code: str, subject: str) -> str:
    """Return the code of a message about a job type or a schedule, which it names."""
    return f"{code}{_SEPARATOR}{subject}"


def take(request: Request) -> Flash | None:
    """Return the flash of a request, if any. The page that shows it must `clear` it."""
    code, _, subject = request.cookies.get(COOKIE, "").partition(_SEPARATOR)
    flash = MESSAGES.get(code)
    if flash is None:
        return None
    if _SUBJECT.fullmatch(subject):
        name = subject if code.startswith("schedule_") else labels.kind(subject)
        return replace(flash, message=flash.message.replace(_PLACE, name))
    return replace(flash, message=flash.message.replace(f": {_PLACE}", ""))


def clear(response: Response, *, secure: bool) -> None:
    _set(response, "", 0, secure=secure)


def _set(response: Response, value: str, max_age: int, *, secure: bool) -> None:
    response.set_cookie(COOKIE, value, max_age=max_age, path="/", secure=secure, httponly=True, samesite="lax")
