"""PostgreSQL through SQLAlchemy Core and psycopg: the engine of a process, and what its errors mean to a caller."""

from __future__ import annotations

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from chassis import errors

POOL_TIMEOUT = 3.0
_SERVER_SETTINGS = "-c statement_timeout=10000 -c lock_timeout=3000 -c idle_in_transaction_session_timeout=15000"


def engine(url: str, *, name: str, pool_size: int = 10) -> AsyncEngine:
    """Make the engine of a process; `name` is shown in pg_stat_activity. Connects when first used."""
    return create_async_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT,
        pool_recycle=600,
        # One round trip a checkout, and a restarted database costs no caller an error.
        pool_pre_ping=True,
        connect_args={
            "application_name": name,
            "connect_timeout": 3,
            "options": _SERVER_SETTINGS,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 2,
            "tcp_user_timeout": 10_000,
        },
    )


def translate(error: Exception) -> errors.Error | None:
    """Give `Unavailable` for an error that says that the database does not answer (now), else None."""
    if isinstance(error, (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)):
        return errors.Unavailable("The database does not answer; try again.", code="database_unavailable")
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return errors.Unavailable("The database connection was lost; try again.", code="database_unavailable")
    return None


def violated_constraint(error: exc.IntegrityError) -> str:
    """Name the constraint that refused a row; empty if the database did not say."""
    diagnostics = getattr(error.orig, "diag", None)
    return getattr(diagnostics, "constraint_name", None) or ""
