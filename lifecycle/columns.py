"""The columns that the table of every lifecycle has."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

BOOKKEEPING = ("previous_state", "job_version", "attempt", "checked_at")
"""Columns that only transitions need. The export of a user's data leaves them out."""


def columns(*, not_null: Collection[str] = ()) -> list[sa.Column[Any]]:
    """Return new columns for a table; `not_null` names columns that the table's migration requires beyond the common ones."""
    time = sa.DateTime(timezone=True)
    required = {"state", "generation", "version", "attempt", "job_version", *not_null}
    types: dict[str, sa.types.TypeEngine[Any]] = {
        "state": sa.Text(),
        "previous_state": sa.Text(),
        "generation": sa.BigInteger(),
        "version": sa.BigInteger(),
        "attempt": sa.Integer(),
        "job_id": sa.Uuid(),
        "job_kind": sa.Text(),
        "job_version": sa.BigInteger(),
        "error_code": sa.Text(),
        "error_message": sa.Text(),
        "changed_at": time,
        "checked_at": time,
    }
    return [sa.Column(name, type_, nullable=name not in required) for name, type_ in types.items()]
