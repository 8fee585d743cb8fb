"""Transactions whose process has stopped answering, paused or with its host gone, while they lock the row of an owner."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.prepared import Prepared

# Neither statement_timeout nor idle_in_transaction_session_timeout ends a COPY that waits for its client.
# Only sessions of our own role can be seen and ended here.
_WAITING = Prepared(
    sa.text("""
    SELECT a.pid, a.state_change, c.bytes_processed FROM pg_stat_activity a LEFT JOIN pg_stat_progress_copy c ON c.pid = a.pid
    WHERE a.usename = current_user AND a.datname = current_database() AND a.pid <> pg_backend_pid()
      AND a.xact_start IS NOT NULL AND a.wait_event_type = 'Client'
      AND (c.pid IS NOT NULL OR a.state_change < clock_timestamp() - :age)
""")
)
_END = Prepared(
    sa.text("""
    SELECT count(*) FILTER (WHERE pg_terminate_backend(a.pid)) FROM pg_stat_activity a
    JOIN unnest(CAST(:pids AS integer[]), CAST(:changes AS timestamptz[])) s (pid, state_change)
      ON a.pid = s.pid AND a.state_change = s.state_change AND a.wait_event_type = 'Client'
""")
)

_Statement = tuple[int, datetime]


class StalledTransactions:
    """Ends transactions that wait for their client; a COPY only while none of its bytes arrive."""

    def __init__(self) -> None:
        self._copied: dict[_Statement, tuple[int, float]] = {}
        """The bytes of each COPY at the last check, and the time since which they have not changed."""

    async def end(self, conn: AsyncConnection, *, age: timedelta) -> int:
        """End transactions that have waited for their client for longer than `age`; return how many.

        They are rolled back, and a client that resumes later finds its connection closed. Its fence would refuse it anyway, but
        until then its row lock would block the next attempt.
        """
        now = time.monotonic()
        copied: dict[_Statement, tuple[int, float]] = {}
        stalled: list[_Statement] = []
        for pid, changed_at, size in await _WAITING.execute(conn, {"age": age}):
            statement = (pid, changed_at)
            if size is not None:
                before, since = self._copied.get(statement, (size, now))
                copied[statement] = (size, since if size == before else now)
            if size is None or now - copied[statement][1] > age.total_seconds():
                stalled.append(statement)
        self._copied = copied
        if not stalled:
            return 0
        parameters = {"pids": [pid for pid, _ in stalled], "changes": [changed_at for _, changed_at in stalled]}
        ((ended,),) = await _END.execute(conn, parameters)
        return int(ended)
