"""Pages of the lists of administrators, with their counts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from chassis import errors, paging
from chassis.paging import Row

PAGE = 50
MAX_COUNT = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which page of a list to read."""

    page_size: int
    """0: `PAGE`."""
    page_token: str
    oldest_first: bool
    max_count: int
    """Up to how many rows of the list are counted, at most `MAX_COUNT`; 0: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Row]):
    rows: Sequence[Row]
    next_token: str
    previous_token: str
    count: int
    """The number of rows of the list, at most `max_count` of the request."""


async def read(
    request: Request,
    *,
    filters: tuple[object, ...],
    length: int,
    select: Callable[[paging.Start, int], Awaitable[Sequence[Row]]],
    position_of: Callable[[Row], list[str]],
    count: Callable[..., Awaitable[int]],
) -> Page[Row]:
    """Read a page as `paging.page` does, and count the list with `count(limit=…)`. Raises `InvalidArgument`."""
    if not 0 <= request.max_count <= MAX_COUNT:
        raise errors.InvalidArgument(f"max_count must be 0 to {MAX_COUNT}.", field="max_count")
    filters = (*filters, "oldest") if request.oldest_first else filters
    start = paging.start(request.page_token, filters=filters, length=length)
    page = await paging.page(
        start,
        limit=paging.size(request.page_size or PAGE),
        filters=filters,
        select=select,
        position_of=position_of,
    )
    number = 0
    if request.max_count:
        # A list of one page needs no second statement.
        is_whole = start.position is None and not page.next_token
        number = len(page.rows) if is_whole else await count(limit=request.max_count)
    return Page(rows=page.rows, next_token=page.next_token, previous_token=page.previous_token, count=number)
