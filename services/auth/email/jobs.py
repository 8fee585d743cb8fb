"""Mails are sent by jobs of kind `auth.email`; what asks for one says what for, and holds no secret."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Unpack

import worker
from chassis import outbox
from services.auth.email.templates import Notice
from worker import outbox as worker_outbox

KIND = "auth.email"
RESET_DELAY = timedelta(seconds=1)

logger = logging.getLogger(__name__)


class Purpose(StrEnum):
    """What a mail is for."""

    VERIFY = "verify"
    """A link that shows that the address receives mail."""
    REGISTERED = "registered"
    """There is an account already."""
    RESET = "reset"
    """A link that sets a new password."""
    NOTICE = "notice"
    """Something was done to the account."""


LINK_LIFETIMES = {Purpose.VERIFY: timedelta(hours=24), Purpose.RESET: timedelta(minutes=30)}


@dataclass(frozen=True, slots=True)
class Payload:
    """What the job is told: an account, or an address that may have one."""

    purpose: Purpose
    user_id: str = ""
    email: str = ""
    notice: Notice | None = None


def verify(user_id: uuid.UUID) -> outbox.Message:
    """Ask for a link that verifies the user's address."""
    return _submit(Payload(Purpose.VERIFY, user_id=str(user_id)))


def registered(email: str) -> outbox.Message:
    """Ask for a mail that tells an owner of the account that there is."""
    return _submit(Payload(Purpose.REGISTERED, email=email))


def reset(email: str) -> outbox.Message:
    """Ask for a link that sets a new password, if the address has an account.

    In one or two seconds, by chance: writing the mail is work that there is for known addresses only, and beside the answer it
    would slow that one down.
    """
    later = datetime.now(UTC) + RESET_DELAY + timedelta(milliseconds=secrets.randbelow(1_000))
    return _submit(Payload(Purpose.RESET, email=email), run_at=later)


def notice(user_id: uuid.UUID, what: Notice) -> outbox.Message:
    """Ask for a mail that tells an owner what was done."""
    return _submit(Payload(Purpose.NOTICE, user_id=str(user_id), notice=what))


def _submit(payload: Payload, **options: Unpack[worker.JobOptions]) -> outbox.Message:
    told = {name: value for name, value in dataclasses.asdict(payload).items() if value}
    return worker_outbox.submit_message(worker.new_job(KIND, told, **options))
