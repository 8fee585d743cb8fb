"""Labels of kinds, states and reasons for people."""

from __future__ import annotations

from collections.abc import Mapping

from gateway import views

KINDS: Mapping[str, str] = {
    "demo.enable": "Enable demo mode",
    "demo.disable": "Disable demo mode",
    "demo.export": "Export my reviews",
    "demo.expire": "Disable expired demo modes",
    "auth.connect": "Connect a platform",
    "auth.disconnect": "Disconnect a platform",
    "auth.refresh": "Refresh access to a platform",
    "auth.refresh-due": "Find access to refresh",
    "auth.connections-abandoned": "End abandoned connections",
    "auth.connections-maintenance": "Clean up connections",
    "auth.revoke-tokens": "Revoke tokens at a platform",
    "auth.rotate-keys": "Rotate encryption keys",
    "auth.email": "Send an email",
    "auth.export-data": "Export my data",
    "auth.erase": "Erase an account",
    "auth.erase-due": "Find accounts to erase",
    "demo.erase": "Erase the sample data of an account",
    "jobs.group": "Group of jobs",
    "jobs.cleanup": "Delete old jobs",
    "jobs.bulk": "Change many jobs",
    "*": "All job types",
}
OWN_KINDS = ("demo.enable", "demo.disable", "demo.export", "auth.export-data", "auth.connect", "auth.disconnect")
"""Kinds of jobs that users start."""
NOTICES: Mapping[views.NoticeCategory, str] = {
    "demo_mode": "demo mode",
    "exports": "exports",
    "connections": "connections",
    "other": "other jobs",
}
"""The categories of notices, within a sentence."""
SECURITY_EVENTS: Mapping[str, str] = {
    "registered": "Account created",
    "registration_repeated": "Registered again",
    "login_succeeded": "Signed in",
    "login_failed": "Incorrect password at sign-in",
    "second_factor_failed": "Incorrect code",
    "reauthenticated": "Identity confirmed",
    "reauthentication_failed": "Incorrect password or code when confirming identity",
    "session_revoked": "Session ended",
    "sessions_revoked": "Sessions ended",
    "password_changed": "Password changed",
    "password_change_failed": "Incorrect password when changing it",
    "password_reset_requested": "Password reset requested",
    "password_reset": "Password reset",
    "email_verification_requested": "Verification email requested",
    "email_verified": "Email address verified",
    "email_change_requested": "Change of email address requested",
    "email_change_cancelled": "Change of email address cancelled",
    "email_changed": "Email address changed",
    "email_change_revoked": "Change of email address undone",
    "second_factor_enabled": "Two-step verification turned on",
    "second_factor_disabled": "Two-step verification turned off",
    "recovery_code_used": "Recovery code used",
    "recovery_codes_replaced": "Recovery codes replaced",
    "passkey_added": "Passkey added",
    "passkey_removed": "Passkey removed",
    "passkey_used": "Passkey used",
    "passkey_failed": "Passkey rejected",
    "passkey_counter_regressed": "Passkey rejected: it may have been copied",
    "api_token_created": "API token created",
    "api_token_revoked": "API token revoked",
    "data_export_requested": "Copy of your data requested",
    "data_export_downloaded": "Copy of your data downloaded",
    "role_changed": "Role changed",
    "account_disabled": "Account disabled",
    "account_enabled": "Account enabled",
    "deletion_requested": "Deletion of the account requested",
    "deletion_cancelled": "Deletion of the account cancelled",
    "account_deleted": "Account deleted",
    "connection_begun": "Connecting started",
    "connected": "Connected",
    "connection_failed": "Connection failed",
    "disconnected": "Disconnected",
}
"""The values of `SecurityEvent.kind`."""
STATES: Mapping[str, str] = {
    "scheduled": "Scheduled",
    "pending": "Waiting",
    "running": "Running",
    "retrying": "Retrying",
    "on_hold": "On hold",
    "cancelling": "Cancelling",
    "completed": "Completed",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
ACTIVE: tuple[views.JobStatus, ...] = ("scheduled", "pending", "running", "retrying", "cancelling")
_MADE: Mapping[str, tuple[str, str]] = {
    "demo.enable": ("/dashboard", "Open the dashboard"),
    "demo.disable": ("/settings/demo-mode", "Demo mode settings"),
    "demo.export": ("/settings/exports", "Download the export"),
    "auth.export-data": ("/settings/data", "Download your data"),
    "auth.connect": ("/settings/connections", "View connections"),
    "auth.disconnect": ("/settings/connections", "View connections"),
}
UNDO = ".undo"
PROBLEMS: Mapping[str, str] = {
    "crashing": "Crashing",
    "no_worker": "No worker",
    "failing": "Failing",
    "overrun": "Over time",
    "cancelling": "Not stopping",
    "waiting": "Waiting too long",
    "paused": "Paused",
    "on_hold": "On hold",
}
_STUCK: Mapping[str, str] = {
    "no_worker": "No worker runs this job type",
    "paused": "The job type is paused",
    "waiting": "Ready for more than 5 minutes",
    "overrun": "Running longer than an attempt may",
    "cancelling": "The worker does not stop",
    "crashing": "Workers died while running it",
    "on_hold": "An admin put it on hold",
}


def kind(name: str) -> str:
    """Return the label of a kind."""
    if label := KINDS.get(name):
        return label
    if name.endswith(UNDO):
        return f"Undo: {kind(name.removesuffix(UNDO))}"
    service, _, verb = name.partition(".")
    words = (verb or service).replace("_", " ").replace("-", " ").replace(".", " ").strip().capitalize()
    return f"{words} ({service})" if verb else words


def output(job: views.Job) -> tuple[str, str] | None:
    """Return address and text of the link to the output of a completed job."""
    return _MADE.get(job["kind"]) if job["status"] == "completed" else None


def words(identifier: str) -> str:
    """Return an identifier as words: `local_business` is Local business."""
    return identifier.replace("_", " ").strip().capitalize()


def shown_status(job: Mapping[str, object]) -> str:
    """Return the name of the state that pages show of a job: `on_hold`, or its status."""
    return "on_hold" if job.get("on_hold") else str(job["status"])


def state(name: str) -> str:
    return STATES.get(name, words(name))


MAX_AHEAD = 1_000
"""Counting of the jobs before a waiting one ends here."""


def waits_for(status: views.JobStatus, history: views.JobHistory) -> str:
    """Return what a job of this status waits for, as a sentence; empty if it does not wait, or only for its time."""
    ahead = history["jobs_ahead"]
    if history["on_hold"]:
        return "This job is on hold. It starts when an admin releases it."
    if history["is_paused"]:
        return "Jobs of this type are paused. This one starts when they are resumed."
    if history["awaits_slot"]:
        return "Another job has to finish first."
    if status == "scheduled" or ahead is None:
        return ""
    if history["lacks_worker"]:
        return "Nothing runs jobs of this type at the moment. This one starts when that changes."
    if ahead >= MAX_AHEAD:
        return f"{MAX_AHEAD:,} jobs or more are ahead of this one."
    if ahead == 0:
        return "This job is next."
    return f"{ahead:,} job{' is' if ahead == 1 else 's are'} ahead of this one."


def stuck(reason: str) -> str:
    """Return why a job needs attention."""
    return _STUCK.get(reason, words(reason))


def problem(reason: str) -> str:
    """Return the short name of a reason why jobs need attention."""
    return PROBLEMS.get(reason, words(reason))


def worker(name: str) -> str:
    """Return the short name of a worker, whose name is `<service>-<host>-<process>-<random>`: service and random part."""
    parts = name.rsplit("-", 2)
    if len(parts) < 3 or not parts[1].isdecimal():
        return name
    return f"{parts[0].partition('-')[0]}-{parts[2]}"
