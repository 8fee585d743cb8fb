"""Opaque page tokens: a position in a sorted list, bound to the filters it was made for (AIP-158)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from chassis import errors

DEFAULT_SIZE = 20
MAX_SIZE = 100
MAX_TOKEN_LENGTH = 500
_BACK = "back:"
"""Before the position in the token of a previous page."""

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a page starts, and in which direction it is read."""

    position: list[str] | None
    """The row next to the page, outside of it; None for the first page."""
    is_back: bool
    """Whether the page ends before that row instead of starting after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Row]):
    """A page of a list that is read in both directions."""

    rows: Sequence[Row]
    next_token: str
    """Empty on the last page."""
    previous_token: str
    """Empty on the first page."""


def size(requested: int) -> int:
    """Return the number of rows of a page: 20 by default, 100 at most. Raises `InvalidArgument` below 0."""
    if requested < 0:
        raise errors.InvalidArgument(f"page_size must be between 1 and {MAX_SIZE}.", field="page_size")
    return min(requested or DEFAULT_SIZE, MAX_SIZE)


def token(position: list[str], *, filters: object) -> str:
    """Create the token of the page after `position`."""
    raw = json.dumps([_digest(filters), *position], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def position(page_token: str, *, filters: object, length: int) -> list[str] | None:
    """Return the position of a token, None for the first page. Raise `InvalidArgument` for a token of other filters."""
    if not page_token:
        return None
    if len(page_token) > MAX_TOKEN_LENGTH:
        raise invalid_token()
    try:
        raw = base64.urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4))
        digest, *parts = json.loads(raw)
    except (binascii.Error, ValueError, TypeError, RecursionError):
        digest, parts = "", []
    if digest != _digest(filters) or len(parts) != length or not all(isinstance(part, str) for part in parts):
        raise invalid_token()
    return [str(part) for part in parts]


def start(page_token: str, *, filters: object, length: int) -> Start:
    """Return the start that the token of a `Page` names. Raise like `position`."""
    parts = position(page_token, filters=filters, length=length)
    is_back = parts is not None and parts[0].startswith(_BACK)
    return Start(position=[parts[0].removeprefix(_BACK), *parts[1:]] if parts else None, is_back=is_back)


async def page(
    start: Start,
    *,
    limit: int,
    filters: object,
    select: Callable[[Start, int], Awaitable[Sequence[Row]]],
    position_of: Callable[[Row], list[str]],
) -> Page[Row]:
    """Read a page of at most `limit` rows.

    `select(start, count)` returns up to `count` rows from a start on, in the order of reading: with `is_back` reversed.
    """
    rows = await select(start, limit + 1)
    if start.is_back and len(rows) <= limit:
        # The first page, whole.
        start = Start(position=None, is_back=False)
        rows = await select(start, limit + 1)
    has_more, rows = len(rows) > limit, rows[:limit]
    if start.is_back:
        rows = rows[::-1]
    has_previous = has_more if start.is_back else start.position is not None
    has_next = has_more or start.is_back

    def token_at(row: Row, prefix: str) -> str:
        first, *rest = position_of(row)
        return token([prefix + first, *rest], filters=filters)

    return Page(
        rows=rows,
        next_token=token_at(rows[-1], "") if rows and has_next else "",
        previous_token=token_at(rows[0], _BACK) if rows and has_previous else "",
    )


def parse_uuid(text: str) -> UUID:
    """Return the id in a position. Raise `InvalidArgument` for anything else."""
    try:
        return UUID(text)
    except ValueError:
        raise invalid_token() from None


def invalid_token() -> errors.InvalidArgument:
    """Return the error for a forged token or one with an invalid position."""
    message = "page_token must be a page token of another page, with the same filters."
    return errors.InvalidArgument(message, field="page_token")


def _digest(filters: object) -> str:
    return hashlib.sha256(repr(filters).encode()).hexdigest()[:12]
