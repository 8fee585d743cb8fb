"""The work for an enable with its job, counted and not timed: by PostgreSQL and NATS.

Counted are statements, write transactions, bytes of WAL, and the messages that NATS delivers.

Counts enables at a steady rate and subtracts the work of the idle system in the same time. PostgreSQL logs every statement
meanwhile, so this suite needs its own run.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from bench import load
from bench.samples import Section
from bench.system import DEMO_OPTIONS, System, User

RATE = 10.0
COUNT = 100
WARM_UP = 20
IDLE_SECONDS = 10.0
STATEMENTS = 22.0
COMMITS = 4.0
WAL_BYTES = 9 * 1024.0
IDLE_STATEMENTS = 8.0
"""Per second, of the whole idle system."""

SUPERUSER = b"postgres"
"""The role of this benchmark, which is not counted."""
# Images of whole pages depend on when the last checkpoint was; all other WAL depends on the work alone.
_SETTINGS = {
    "full_page_writes": "off",
    "log_min_duration_sample": "0",
    "log_statement_sample_rate": "1",
    "log_line_prefix": "%u|",
}
_LINE = re.compile(rb"^(\w+)\|LOG:  duration: [\d.]+ ms  (?:statement|execute [^:]*): *(.*(?:\n\s.*)*)", re.MULTILINE)
_LITERAL = re.compile(r"\s+|\$\d+|%\(\w+\)s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The work of PostgreSQL and NATS in a period."""

    seconds: float
    statements: Counter[str]
    """By role and beginning of the text."""
    commits: int
    """Write transactions."""
    wal_bytes: int
    delivered: Counter[str]
    """Messages that NATS delivered, by the name of the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The work for one enable with its job, without the idle system."""

    statements: dict[str, float]
    commits: float
    wal_bytes: float
    delivered: Mapping[str, float]
    """Messages that NATS delivers, by the name of the connection; no user has an open page."""
    idle: Mapping[str, float]
    """Statements per second of the idle system, by role and text."""

    @property
    def total(self) -> float:
        """Statements of an enable with its job."""
        return sum(self.statements.values())


async def run(system: System) -> list[Section]:
    """Count and print every statement with its number."""
    budget = await measure(system)
    lines = [
        f"{budget.total:.1f} statements an enable with its job (target {STATEMENTS:.0f})",
        f"{budget.commits:.1f} transactions that write (target {COMMITS:.0f})",
        f"{budget.wal_bytes / 1024:.1f} KiB of WAL (target {WAL_BYTES / 1024:.0f})",
        "messages delivered by NATS: "
        + ", ".join(f"{number:.2f} to {name}" for name, number in budget.delivered.items()),
        f"{sum(budget.idle.values()):.1f} statements a second of the idle system (target {IDLE_STATEMENTS:.0f})",
    ]
    shares = sorted(budget.statements.items(), key=lambda item: -item[1])
    lines += [f"{number:5.2f}  {text}" for text, number in shares if number >= 0.01]
    lines.append("Statements per second of the idle system:")
    lines += [f"{number:5.2f}  {text}" for text, number in sorted(budget.idle.items(), key=lambda item: -item[1])]
    return [Section(title="Budget of an enable", rows=[], notes=lines)]


async def measure(system: System, *, count: int = COUNT) -> Budget:
    """Count the work of an enable with its job, over `count` of them."""
    users = await system.sign_up(count + WARM_UP)
    async with await system.connect_database() as conn:
        await _set(conn, _SETTINGS)
        try:
            await _pause_schedules(conn)
            await _enable(system, users[count:])
            idle = await _during(system, conn, lambda: asyncio.sleep(IDLE_SECONDS))
            busy = await _during(system, conn, lambda: _enable(system, users[:count]))
        finally:
            await _set(conn, dict.fromkeys(_SETTINGS))
    share = busy.seconds / idle.seconds
    statements = {
        text: (busy.statements[text] - idle.statements[text] * share) / count
        for text in busy.statements | idle.statements
    }
    return Budget(
        statements=statements,
        commits=(busy.commits - idle.commits * share) / count,
        wal_bytes=(busy.wal_bytes - idle.wal_bytes * share) / count,
        delivered={
            name: (busy.delivered[name] - idle.delivered[name] * share) / count for name in sorted(busy.delivered)
        },
        idle={text: count / idle.seconds for text, count in idle.statements.items()},
    )


async def _pause_schedules(conn: psycopg.AsyncConnection) -> None:
    """Pause all schedules: their jobs, at full minutes, belong to no period. Registering them again leaves them paused."""
    await conn.execute("UPDATE jobs.schedules SET paused_at = now(), next_at = NULL")


async def _enable(system: System, users: Sequence[User]) -> None:
    async def enable(index: int) -> None:
        await system.enable(users[index], DEMO_OPTIONS)

    await load.offer(enable, rate=RATE, count=len(users))
    await system.quiet()


async def _during(system: System, conn: psycopg.AsyncConnection, work: Callable[[], Awaitable[object]]) -> Work:
    log = system.stack.servers.postgres.log_path
    began = asyncio.get_running_loop().time()
    delivered = await _delivered(system)
    offset, (transactions, wal) = log.stat().st_size, await _counters(conn)
    await work()
    transactions_after, wal_after = await _counters(conn)
    with log.open("rb") as file:
        file.seek(offset)
        lines = _LINE.findall(file.read())
    statements = Counter(f"{role.decode()}: {_shorten(text.decode())}" for role, text in lines if role != SUPERUSER)
    return Work(
        seconds=asyncio.get_running_loop().time() - began,
        statements=statements,
        commits=transactions_after - transactions,
        wal_bytes=wal_after - wal,
        delivered=Counter({name: count - delivered[name] for name, count in (await _delivered(system)).items()}),
    )


async def _delivered(system: System) -> Counter[str]:
    connections = await asyncio.to_thread(system.stack.servers.nats.connections)
    delivered: Counter[str] = Counter()
    for connection in connections:
        delivered[connection.get("name", "")] += connection["out_msgs"]
    return delivered


async def _counters(conn: psycopg.AsyncConnection) -> tuple[int, int]:
    cursor = await conn.execute(
        "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, pg_current_wal_insert_lsn() - '0/0'"
    )
    row = await cursor.fetchone()
    assert row
    return int(row[0]), int(row[1])


async def _set(conn: psycopg.AsyncConnection, settings: Mapping[str, str | None]) -> None:
    for name, value in settings.items():
        change = (
            sql.SQL("SET {} = {}").format(sql.Identifier(name), value)
            if value
            else sql.SQL("RESET {}").format(sql.Identifier(name))
        )
        await conn.execute(sql.SQL("ALTER SYSTEM ") + change)
    await conn.execute("SELECT pg_reload_conf()")
    await asyncio.sleep(0.5)  # every backend reloads its settings between two statements


def _shorten(text: str) -> str:
    return _LITERAL.sub(" ", text).strip()[:100]
