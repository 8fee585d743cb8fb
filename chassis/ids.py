"""Identifiers that sort by their creation time."""

from __future__ import annotations

import hashlib
import secrets
import time
import uuid
from datetime import UTC, datetime, timedelta

from chassis import errors

_EPOCH = datetime.fromtimestamp(0, UTC)
_MAX_AHEAD_SECONDS = 86_400
_PLAUSIBLE_YEARS = (datetime(2001, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


def uuid7() -> uuid.UUID:
    """Create a UUIDv7 (RFC 9562 §5.7, §6.2 method 3): Unix milliseconds, 12 bits of their fraction, 62 random bits.

    Ids of one process sort in the order of their creation.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    return _uuid7(milliseconds, (nanoseconds * 4096 // 1_000_000) << 62 | secrets.randbits(62))


def uuid7_of(moment: datetime, name: str) -> uuid.UUID:
    """Create the UUIDv7 of a time and a name. It is deterministic: a hash of the name replaces the random bits."""
    milliseconds = (moment - _EPOCH) // timedelta(milliseconds=1)
    return _uuid7(milliseconds, int.from_bytes(hashlib.sha256(name.encode()).digest()) >> (256 - 74))


def _uuid7(milliseconds: int, lower_bits: int) -> uuid.UUID:
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (lower_bits >> 62) << 64
    value |= 0b10 << 62 | lower_bits & (1 << 62) - 1
    return uuid.UUID(int=value)


def timestamp_of(value: uuid.UUID) -> datetime:
    """Return the creation time in a UUIDv7, by the clock of its creator, to the millisecond."""
    return datetime.fromtimestamp((value.int >> 80) / 1000, UTC)


def plausible_timestamp_of(value: uuid.UUID) -> datetime | None:
    """Return the creation time in an id that somebody typed; None unless it is a UUIDv7 of the years 2001 to 9998."""
    first, last = ((bound - _EPOCH) // timedelta(milliseconds=1) for bound in _PLAUSIBLE_YEARS)
    return timestamp_of(value) if value.version == 7 and first <= value.int >> 80 < last else None


def parse_uuid7(value: str, field: str) -> uuid.UUID:
    """Read a UUIDv7. Raise `InvalidArgument` also for a time more than a day ahead: such an id would stay the newest."""
    parsed = parse(value, field)
    if parsed.version != 7 or parsed.int >> 80 > (time.time() + _MAX_AHEAD_SECONDS) * 1_000:
        raise errors.InvalidArgument(f"{field} must be a UUIDv7 of the present time.", field=field)
    return parsed


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
