"""Interactions as lines of a CSV file: RFC 4180, UTF-8, with a header. Pure.

A text that a spreadsheet would run as a formula gets a leading apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

COLUMNS = (
    *("occurred_at", "platform", "kind", "rating", "sentiment", "author_name", "author_handle"),
    *("text", "replied", "reply_text", "likes", "content_title"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def encode(rows: Iterable[Mapping[Any, Any]], *, has_header: bool) -> bytes:
    """Return the lines of the rows, after the header if it is wanted."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)  # the dialect `excel`: lines end with CRLF, quotes are doubled
    if has_header:
        writer.writerow(COLUMNS)
    writer.writerows([_cell(row[name]) for name in COLUMNS] for row in rows)
    return file.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.isoformat() if hasattr(value, "isoformat") else value
