"""Identifiers that sort by the time they were made."""

from __future__ import annotations

import secrets
import time
import uuid
from datetime import UTC, datetime

from chassis import errors


def uuid7() -> uuid.UUID:
    """Make a UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random_bits = secrets.randbits(74)
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (random_bits >> 62) << 64
    value |= 0b10 << 62 | random_bits & (1 << 62) - 1
    return uuid.UUID(int=value)


def made_at(value: uuid.UUID) -> datetime:
    """Give the time that a UUIDv7 carries: when it was made, by its maker's clock, to the millisecond."""
    return datetime.fromtimestamp((value.int >> 80) / 1000, UTC)


def parse(value: str, field: str) -> uuid.UUID:
    """Read a UUID in its usual form, or raise `InvalidArgument` naming the field."""
    try:
        parsed = uuid.UUID(value)
    except ValueError:
        parsed = None
    # `uuid.UUID` also takes braces, URNs and missing hyphens; one id has one spelling here.
    if parsed is None or str(parsed) != value.lower():
        raise errors.InvalidArgument(f"{field} must be a UUID, for example {uuid.UUID(int=0)}.", field=field)
    return parsed
