"""Codes of authenticator apps (RFC 6238) and recovery codes: made, read, compared. Spending them is `factor_storage`'s."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import uuid
from datetime import datetime

import pyotp

ISSUER = "Repruv"
STEP_SECONDS = 30
STEPS_ASIDE = 1
"""How many steps a phone's clock may be wrong, in either direction."""
RECOVERY_CODES = 10
_RECOVERY_CHARACTERS = 10

_OF_APP = re.compile(r"[0-9]{6}")
_RECOVERY = re.compile(r"[a-z2-7]{10}")


def associated_data(user_id: uuid.UUID) -> str:
    """Return the associated data of an account's encrypted secret."""
    return f"totp|{user_id}"


def new_secret() -> str:
    """Make the secret of an app: 160 random bits in base32."""
    return pyotp.random_base32()


def uri(secret: str, *, email: str) -> str:
    """Give the secret as apps read it from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def matching_step(secret: str, code: str, *, now: datetime) -> int | None:
    """Give the step whose code this is, the present one or one beside it; None if it is none of theirs."""
    if not _OF_APP.fullmatch(code):
        return None
    present = int(now.timestamp()) // STEP_SECONDS
    totp = pyotp.TOTP(secret)
    steps = range(present + STEPS_ASIDE, present - STEPS_ASIDE - 1, -1)
    # All of them: how long this takes does not say which one it was.
    matching = [step for step in steps if hmac.compare_digest(totp.generate_otp(step), code)]
    return matching[0] if matching else None


def new_recovery_codes() -> list[str]:
    """Make recovery codes: 50 random bits each, as `xxxxx-xxxxx`."""
    return [_new_recovery_code() for _ in range(RECOVERY_CODES)]


def is_recovery(code: str) -> bool:
    """Say whether a cleaned code looks like a recovery code."""
    return _RECOVERY.fullmatch(code) is not None


def recovery_hash(secret: str, code: str) -> bytes:
    """Give what is stored of a recovery code.

    Keyed by the app's secret, which is sealed: 50 bits could be found by trying if only the database were stolen.
    """
    return hmac.digest(secret.encode(), code.replace("-", "").encode(), hashlib.sha256)


def _new_recovery_code() -> str:
    text = base64.b32encode(secrets.token_bytes(7)).decode().lower()[:_RECOVERY_CHARACTERS]
    return f"{text[:5]}-{text[5:]}"
