"""Idempotency keys of requests."""

from __future__ import annotations

import re
import uuid

from chassis import errors

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def idempotency_key(sent: str | None) -> str:
    """Return the validated key, or a new one for None. A new key makes the gateway's own retries idempotent.

    Raises `InvalidArgument` `idempotency_key_invalid`.
    """
    if sent is None:
        return f"gateway-{uuid.uuid4()}"
    if not _KEY.fullmatch(sent):
        message = "Idempotency-Key must be 1 to 255 visible ASCII characters."
        raise errors.InvalidArgument(message, code="idempotency_key_invalid", field="Idempotency-Key")
    return sent
