"""Jobs of kind `auth.email`: each names the purpose and recipient of an email and holds no secret."""

from __future__ import annotations

import dataclasses
import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Unpack

import worker
from chassis import outbox
from services.auth.email.templates import AccountChange
from worker import outbox as worker_outbox

KIND = "auth.email"
RESET_DELAY = timedelta(seconds=1)


class Purpose(StrEnum):
    """What an email about the account is for."""

    VERIFY = "verify"
    """A link that verifies the address."""
    ALREADY_REGISTERED = "registered"
    """A second registration with the address of an account."""
    RESET = "reset"
    """A link that sets a new password."""
    DELETION = "deletion"
    """A link that cancels the deletion of the account."""
    NOTICE = "notice"
    """A change to the account."""
    NEW_API_TOKEN = "new_api_token"  # noqa: S105 - a purpose
    """A new API token."""
    NEW_DEVICE = "new_device"
    """A sign-in from a device that the account has not seen before."""
    CONFIRM_EMAIL_CHANGE = "confirm_email_change"
    """A link, to a new address, that makes it the account's."""
    NOTICE_OF_EMAIL_CHANGE = "notice_of_email_change"
    """A link, to the address so far, that undoes the change."""


LINK_LIFETIMES = {
    Purpose.VERIFY: timedelta(hours=24),
    Purpose.RESET: timedelta(minutes=30),
    # The longest grace period. The link goes with the deletion.
    Purpose.DELETION: timedelta(days=90),
}
WITH_LINKS = {*LINK_LIFETIMES, Purpose.CONFIRM_EMAIL_CHANGE, Purpose.NOTICE_OF_EMAIL_CHANGE}
"""Purposes whose emails carry a new one-time link in each attempt."""


@dataclass(frozen=True, slots=True)
class Payload:
    """The payload: an account, or an address that may have one."""

    purpose: str
    """A `Purpose`, or that of an email about events of jobs (`services.auth.notifications`)."""
    user_id: str = ""
    email: str = ""
    notice: AccountChange | None = None
    session_id: str = ""
    change_id: str = ""
    token_id: str = ""
    about: str = ""
    """What an email about events of jobs is about, as its module defines it."""


def verify(user_id: uuid.UUID) -> outbox.Message:
    """Return the job that emails a link to verify the user's address."""
    return _submit(Payload(Purpose.VERIFY, user_id=str(user_id)))


def already_registered(email: str) -> outbox.Message:
    """Return the job that tells the owner of an account about a second registration."""
    return _submit(Payload(Purpose.ALREADY_REGISTERED, email=email))


def reset(email: str) -> outbox.Message:
    """Return the job that emails a link for a new password if the address has an account.

    It runs after a random delay of one to two seconds. Only existing accounts cause that work; done next to the response, it
    would make the response slower and reveal them.
    """
    run_at = datetime.now(UTC) + RESET_DELAY + timedelta(milliseconds=secrets.randbelow(1_000))
    return _submit(Payload(Purpose.RESET, email=email), run_at=run_at)


def deletion(user_id: uuid.UUID) -> outbox.Message:
    """Return the job that emails a link to cancel the deletion of the account."""
    return _submit(Payload(Purpose.DELETION, user_id=str(user_id)))


def account_change(user_id: uuid.UUID, change: AccountChange) -> outbox.Message:
    """Return the job that notifies the owner of a change."""
    return _submit(Payload(Purpose.NOTICE, user_id=str(user_id), notice=change))


def new_device(user_id: uuid.UUID, session_id: uuid.UUID) -> outbox.Message:
    """Return the job that notifies the owner of a sign-in from a new device."""
    return _submit(Payload(Purpose.NEW_DEVICE, user_id=str(user_id), session_id=str(session_id)))


def new_api_token(user_id: uuid.UUID, token_id: uuid.UUID) -> outbox.Message:
    """Return the job that notifies the owner of a new API token."""
    return _submit(Payload(Purpose.NEW_API_TOKEN, user_id=str(user_id), token_id=str(token_id)))


def confirm_email_change(user_id: uuid.UUID, change_id: uuid.UUID) -> outbox.Message:
    """Return the job that emails a link to the new address. Only the job finds out whether the address has an account."""
    return _submit(Payload(Purpose.CONFIRM_EMAIL_CHANGE, user_id=str(user_id), change_id=str(change_id)))


def notice_of_email_change(user_id: uuid.UUID, change_id: uuid.UUID) -> outbox.Message:
    """Return the job that notifies the address so far."""
    return _submit(Payload(Purpose.NOTICE_OF_EMAIL_CHANGE, user_id=str(user_id), change_id=str(change_id)))


def new_job(payload: Payload, **options: Unpack[worker.JobOptions]) -> worker.NewJob:
    fields = {name: value for name, value in dataclasses.asdict(payload).items() if value}
    return worker.new_job(KIND, fields, **options)


def _submit(payload: Payload, **options: Unpack[worker.JobOptions]) -> outbox.Message:
    return worker_outbox.submit_message(new_job(payload, **options))
