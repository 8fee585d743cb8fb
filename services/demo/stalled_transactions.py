"""Transactions whose process has stopped answering, paused or with its host gone, while they lock the row of an owner."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

# A COPY that waits for its client heeds neither statement_timeout nor idle_in_transaction_session_timeout. Only sessions of
# our own role can be seen and ended here.
_END = sa.text("""
    SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()
      AND xact_start IS NOT NULL AND wait_event_type = 'Client' AND state_change < clock_timestamp() - :age
""").bindparams(sa.bindparam("age", type_=sa.Interval))


async def end(conn: AsyncConnection, *, age: timedelta) -> int:
    """End transactions that have waited for their client for longer than `age`; return how many.

    They are rolled back, and a client that resumes later finds its connection closed. Its fence would refuse it anyway, but
    until then its row lock would block the next attempt.
    """
    return int((await conn.execute(_END, {"age": age})).scalar_one())
