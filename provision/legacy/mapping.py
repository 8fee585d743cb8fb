"""Converts rows of the old system to rows of this one. Pure: no database, no clock."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import unicodedata
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from chassis import email_addresses, ids
from provision.legacy.source import Row

NAME_LIMIT = 100
PLATFORM = re.compile(r"[a-z0-9-]{1,32}")
HISTORY_AGE = timedelta(days=365)
"""Jobs are kept as history until this long after their end."""
KIND_PREFIX = "legacy."
INTERRUPTED = "legacy_interrupted"
DEMO_OPTIONS: dict[str, Any] = {
    "profile_type": "creator",
    "niche": "fitness",
    "content_count": 60,
    "interaction_count": 2_000,
}
"""The defaults of EnableDemo; the old system stored no options."""

_NAMESPACE = uuid.UUID("5d1f3a52-6f2e-5c0e-9d0b-0c7a1c0f9b11")
_OLDEST = datetime(2000, 1, 1, tzinfo=UTC)
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|1[0-4])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_TRUE, _FALSE = {"1", "t", "true", "y", "yes", "on"}, {"", "0", "f", "false", "n", "no", "off"}
_DEMO_STATES = {
    "enabled": "enabled", "active": "enabled", "on": "enabled",
    "disabled": "disabled", "inactive": "disabled", "off": "disabled", "": "disabled",
    "enabling": "enabling", "pending": "enabling", "processing": "enabling",
    "disabling": "disabled",
    "failed": "failed", "error": "failed",
}  # fmt: skip
_JOB_STATES = {
    "completed": "completed", "complete": "completed", "success": "completed", "succeeded": "completed", "done": "completed",
    "failed": "failed", "failure": "failed", "error": "failed",
    "cancelled": "cancelled", "canceled": "cancelled", "revoked": "cancelled",
    **dict.fromkeys(("pending", "queued", "running", "started", "processing", "in_progress", "retry"), "interrupted"),
}  # fmt: skip
_CONNECTION_STATES = {
    "connected": "connected", "active": "connected",
    "connecting": "connecting", "pending": "connecting",
    "failed": "failed", "error": "failed", "expired": "failed",
    "disconnected": "disconnected", "disconnecting": "disconnected", "inactive": "disconnected", "revoked": "disconnected",
    "": "disconnected",
}  # fmt: skip


@dataclass(slots=True)
class Mapped:
    """The new rows for an old row, or why it is left out."""

    values: dict[str, Any] | None
    """The new row; None if there is none."""
    notes: list[str] = field(default_factory=list)
    """Codes of `report.MEANINGS`."""
    demo: dict[str, Any] | None = None
    """The demo mode of a user who had one."""


def user(row: Row, now: datetime) -> Mapped:
    """Map a user, and the demo mode that was a part of it."""
    try:
        email = email_addresses.normalize(str(row["email"] or ""))
    except ValueError:
        return Mapped(None, ["email_unusable"])
    notes: list[str] = []
    created_at = _moment(row.get("created_at"), now)
    if created_at is None:
        notes.append("time_replaced")
        created_at = now
    if row.get("is_admin"):
        notes.append("admin_not_granted")
    is_active = _boolean(row.get("is_active", True))
    user_id = user_id_of(row["id"])
    is_verified = "is_verified" not in row or bool(_boolean(row["is_verified"]))
    values = {
        "user_id": user_id,
        "email": email,
        "name": _name(row.get("name"), notes),
        "role": "user",
        "password_hash": _password_hash(row.get("password"), notes),
        "created_at": created_at,
        "password_changed_at": created_at,
        "email_verified_at": created_at if is_verified else None,
        "disabled_at": now if is_active is False else None,
    }
    return Mapped(values, notes, _demo_mode(row, user_id, now, notes))


def connection(row: Row, owner_id: uuid.UUID, now: datetime) -> Mapped:
    """Map a connection. No token is taken over, so a connected user connects again."""
    platform = _text(row["platform"]).lower()
    if not PLATFORM.fullmatch(platform):
        return Mapped(None, ["platform_unusable"])
    if (state := _CONNECTION_STATES.get(_text(row["status"]).lower())) is None:
        return Mapped(None, ["status_unknown"])
    if state == "disconnected":
        return Mapped({}, [])
    is_connected = state == "connected"
    message = "This connection was not moved from the previous system. Please connect again."
    values = {
        "user_id": owner_id,
        "platform": platform,
        "state": "failed",
        "previous_state": "connected" if is_connected else "connecting",
        "generation": 1,
        "version": 1,
        "error_code": "reauthorization_required" if is_connected else "consent_expired",
        "error_message": message,
        "changed_at": now,
    }
    return Mapped(values, ["connect_again"] if is_connected else ["connection_stuck"] if state == "connecting" else [])


def job(row: Row, owner_id: uuid.UUID, now: datetime) -> Mapped:
    """Map a job to a finished one."""
    if (state := _JOB_STATES.get(_text(row["status"]).lower())) is None:
        return Mapped(None, ["status_unknown"])
    if (created_at := _moment(row["created_at"], now)) is None:
        return Mapped(None, ["time_unusable"])
    started_at = max(_moment(row.get("started_at"), now) or created_at, created_at)
    finished_at = max(_moment(row.get("finished_at"), now) or started_at, started_at)
    if finished_at < now - HISTORY_AGE:
        return Mapped(None, ["job_too_old"])
    notes = []
    error: tuple[str, str] | None = None
    if state == "interrupted":
        notes.append("job_interrupted")
        state, error = "failed", (INTERRUPTED, "The job had not ended when the system was replaced.")
    elif state == "failed":
        error = ("legacy_failed", _text(row.get("error")) or "The job failed in the previous system.")
    name = re.sub(r"[^a-z0-9_.-]+", "_", _text(row.get("type")).lower()) or "job"
    values = {
        "job_id": ids.uuid7_of(created_at, f"{_NAMESPACE}/jobs/{row['id']}"),
        "owner_id": owner_id,
        "kind": f"{KIND_PREFIX}{name}"[:80],
        "state": state,
        "result": {} if state == "completed" else None,
        "error_code": error[0] if error else None,
        "error_message": error[1][:1_000] if error else None,
        "cancel_reason": "It was cancelled in the previous system." if state == "cancelled" else None,
        "errors": int(state == "failed"),
        "created_at": created_at,
        "run_at": created_at,
        "started_at": started_at,
        "finished_at": finished_at,
    }
    return Mapped(values, notes)


def user_id_of(legacy_id: object) -> uuid.UUID:
    """Return the id of a user: a UUID stays, anything else is hashed."""
    if isinstance(legacy_id, uuid.UUID):
        return legacy_id
    try:
        return uuid.UUID(str(legacy_id))
    except ValueError:
        return uuid.uuid5(_NAMESPACE, f"users/{legacy_id}")


def unusable_hash() -> str:
    """Return a hash that no password matches; it verifies in the time of a real one."""
    salt, digest = (base64.b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (16, 32))
    return f"$argon2id$v=19$m=65536,t=2,p=1${salt}${digest}"


def _demo_mode(row: Row, user_id: uuid.UUID, now: datetime, notes: list[str]) -> dict[str, Any] | None:
    flag = _boolean(row.get("demo_mode"))
    status = row.get("demo_mode_status")
    if status is None:
        state = "enabled" if flag else "disabled"
    else:
        legacy_state = _DEMO_STATES.get(_text(status).lower())
        if legacy_state is None:
            notes.append("demo_status_unknown")
        elif flag is not None and flag != (legacy_state == "enabled") and legacy_state in ("enabled", "disabled"):
            notes.append("demo_contradiction")
        state = legacy_state or "disabled"
    if state == "disabled":
        return None
    notes.append({"enabled": "demo_rebuilt", "enabling": "demo_stuck", "failed": "demo_failed"}[state])
    has_failed = state != "enabled"
    message = "Enabling demo mode was interrupted when the system was replaced. Enable it again."
    return {
        "owner_id": user_id,
        "state": "failed" if has_failed else "enabling",
        "previous_state": "enabling" if has_failed else "disabled",
        "generation": 1,
        "version": 1,
        "job_id": ids.uuid7_of(now, f"{_NAMESPACE}/demo/{user_id}"),
        "job_kind": "demo.enable",
        **DEMO_OPTIONS,
        "seed": int.from_bytes(hashlib.sha256(user_id.bytes).digest()[:4]),
        "seeded_at": now,
        "content_written": 0,
        "interactions_written": 0,
        "content_removed": 0,
        "interactions_removed": 0,
        "error_code": INTERRUPTED if has_failed else None,
        "error_message": message if has_failed else None,
        "changed_at": now,
        # The sweep takes what was never checked first: resources of the live system precede imported ones.
        "checked_at": now,
    }


def _password_hash(value: object, notes: list[str]) -> str:
    if isinstance(value, str) and _BCRYPT.fullmatch(value):
        return value
    notes.append("password_unusable")
    return unusable_hash()


def _name(value: object, notes: list[str]) -> str:
    raw = "" if value is None else str(value)
    cleaned = _text(raw)
    if cleaned != raw.strip():
        notes.append("name_cleaned")
    if len(cleaned) > NAME_LIMIT:
        notes.append("name_shortened")
    return cleaned[:NAME_LIMIT].strip()


def _text(value: object) -> str:
    """Return a text without surrounding space and without control and invisible characters, NUL for example."""
    raw = "" if value is None else str(value)
    return "".join(each for each in raw if unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Zl", "Zp")).strip()


def _boolean(value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    return True if text in _TRUE else False if text in _FALSE else None


def _moment(value: object, now: datetime) -> datetime | None:
    """Return a time between 2000 and now, in UTC unless it has a zone; None for any other."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment if _OLDEST <= moment <= now else None
