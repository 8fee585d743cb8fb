"""Codes of authenticator apps (RFC 6238) and recovery codes: generation and comparison. `storage` spends them."""

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
CLOCK_SKEW_STEPS = 1
"""Steps by which a phone's clock may be off, in either direction."""
RECOVERY_CODES = 10
_RECOVERY_LENGTH = 10

_APP_CODE = re.compile(r"[0-9]{6}")
_RECOVERY_CODE = re.compile(r"[a-z2-7]{10}")


def associated_data(user_id: uuid.UUID) -> str:
    """Return the associated data of an account's encrypted secret."""
    return f"totp|{user_id}"


def new_secret() -> str:
    """Return a new secret: 160 random bits in base32."""
    return pyotp.random_base32()


def uri(secret: str, *, email: str) -> str:
    """Return the secret as the URI that apps read from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def matching_step(secret: str, code: str, *, now: datetime) -> int | None:
    """Return the step of a code, within the allowed clock skew; None if it matches no step."""
    if not _APP_CODE.fullmatch(code):
        return None
    current = int(now.timestamp()) // STEP_SECONDS
    totp = pyotp.TOTP(secret)
    steps = range(current + CLOCK_SKEW_STEPS, current - CLOCK_SKEW_STEPS - 1, -1)
    # Compares all steps, so that the duration does not reveal the match.
    matching = [step for step in steps if hmac.compare_digest(totp.generate_otp(step), code)]
    return matching[0] if matching else None


def new_recovery_codes() -> list[str]:
    """Return new recovery codes: 50 random bits each, as `xxxxx-xxxxx`."""
    return [_new_recovery_code() for _ in range(RECOVERY_CODES)]


def is_recovery(code: str) -> bool:
    """Return whether a cleaned code has the form of a recovery code."""
    return _RECOVERY_CODE.fullmatch(code) is not None


def recovery_hash(secret: str, code: str) -> bytes:
    """Return the stored hash of a recovery code.

    It is keyed by the app's secret, encrypted at rest: with the database alone, 50 bits could be brute-forced.
    """
    return hmac.digest(secret.encode(), code.replace("-", "").encode(), hashlib.sha256)


def _new_recovery_code() -> str:
    text = base64.b32encode(secrets.token_bytes(7)).decode().lower()[:_RECOVERY_LENGTH]
    return f"{text[:5]}-{text[5:]}"
