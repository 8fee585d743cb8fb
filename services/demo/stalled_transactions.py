"""Transactions whose own process has fallen silent: it is paused, or its host is gone, and they hold the rows of an owner."""

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
    """End transactions that have waited for their client for longer than `age`; gives how many.

    They are rolled back, and a client that wakes up later finds its connection broken. Its fence would refuse it anyway; but
    until then the row that it has locked would keep the next attempt waiting.
    """
    return int((await conn.execute(_END, {"age": age})).scalar_one())
