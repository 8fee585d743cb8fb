"""Idempotency keys of requests: a key is bound to one request and its job for a day."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import errors
from lifecycle.rows import Precondition
from services.demo import storage

KEY_LIFETIME = timedelta(hours=24)
KEY_LENGTH = 255


def check_key(key: str) -> None:
    """Raise `InvalidArgument` for a key that cannot be stored."""
    if len(key) > KEY_LENGTH or "\x00" in key:
        message = f"idempotency_key must be at most {KEY_LENGTH} characters, without NUL."
        raise errors.InvalidArgument(message, field="idempotency_key")


def precondition(owner_id: UUID, key: str, request: tuple[object, ...], job_id: UUID) -> Precondition:
    """Return the precondition that this request binds the key. If it is not met, `bind_key` returns the reason."""
    return Precondition(
        written=storage.KEY_BOUND,
        parameters=storage.key_parameters(
            owner_id, key, request_hash=_hash(request), job_id=job_id, lifetime=KEY_LIFETIME
        ),
    )


async def bind_key(conn: AsyncConnection, owner_id: UUID, key: str, request: tuple[object, ...], job_id: UUID) -> UUID:
    """Return the job of the first request with this key: `job_id` if it is this one. Raises `idempotency_key_reused`."""
    request_hash = _hash(request)
    bound_hash, bound_job = await storage.bind_key(
        conn, owner_id, key, request_hash=request_hash, job_id=job_id, lifetime=KEY_LIFETIME
    )
    if bound_hash != request_hash:
        raise errors.AlreadyExists(
            "This idempotency key was used for another request; use a new one.",
            code="idempotency_key_reused",
            field="idempotency_key",
        )
    return bound_job


def _hash(request: tuple[object, ...]) -> bytes:
    return hashlib.sha256(repr(request).encode()).digest()
