"""PostgreSQL through SQLAlchemy Core and psycopg: the engine of a process, and the translation of its errors."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from sqlalchemy import Engine, event, exc
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from chassis import database_url, driver, errors, metrics, tls, tracing

POOL_TIMEOUT = 3.0
LOCK_SECONDS = 3.0
"""How long a statement waits for a lock."""
IDLE_SECONDS = 15.0
"""How long a transaction may wait for its client. Then the server ends it and releases its locks."""
# The server checks its clients too: locks of a vanished host are released in seconds, not hours.
_SERVER_SETTINGS = (
    "-c statement_timeout=10000 -c lock_timeout={lock:.0f} -c idle_in_transaction_session_timeout={idle:.0f}"
    " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=2 -c tcp_user_timeout=10000"
)
# read_only_sql_transaction, admin_shutdown, crash_shutdown, cannot_connect_now.
_UNUSABLE_SERVER = frozenset({"25006", "57P01", "57P02", "57P03"})
_ENDS_SESSION = frozenset({"FATAL", "PANIC"})
# lock_not_available, query_canceled.
_TIMEOUTS = frozenset({"55P03", "57014"})

# By the engine below the asynchronous one, whose comparison costs ten times as much.
_autocommit_twins: WeakKeyDictionary[Engine, AsyncEngine] = WeakKeyDictionary()


def engine(
    url: str,
    *,
    name: str,
    pool_size: int = 20,
    autocommit_size: int | None = None,
    certificate: tls.Certificate | None = None,
    lock_seconds: float = LOCK_SECONDS,
    idle_seconds: float = IDLE_SECONDS,
) -> AsyncEngine:
    """Create the engine of a process; `name` is shown in pg_stat_activity. Connects when first used.

    With `certificate` connections are encrypted and the server must be the one that the URL names,
    unless the URL says otherwise (`sslmode`). The files are read for each connection, and none gets older than ten minutes.

    Behind a pooler (`pooler=transaction` in the URL) nothing is prepared, and the limits of statements are those of the role.

    It has a twin for `autocommit`; both are disposed of together. Of the `pool_size` connections of both, the twin has
    `autocommit_size`, by default half.
    """
    if autocommit_size is None:
        autocommit_size = pool_size // 2
    session = {
        "options": _SERVER_SETTINGS.format(lock=lock_seconds * 1_000, idle=idle_seconds * 1_000),
        # Nearly every statement comes again and again; only a ROLLBACK makes the driver forget those it has prepared.
        "prepare_threshold": 1,
    }
    if database_url.is_pooled(url):
        session = {"prepare_threshold": None}
    url = database_url.complete(url, certificate)
    new_engine, twin = (
        _engine(url, name=name, pool_size=size, session=session, **options)
        for size, options in (
            (pool_size - autocommit_size, {}),
            (autocommit_size, {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}),
        )
    )
    _autocommit_twins[new_engine.sync_engine] = twin
    _export(name, "transactions", new_engine)
    _export(name, "autocommit", twin)
    event.listen(new_engine.sync_engine, "engine_disposed", lambda _: twin.sync_engine.dispose())
    return new_engine


def _export(name: str, pool: str, engine: AsyncEngine) -> None:
    """Export the size of a pool and the number of its connections that are in use."""
    reference = weakref.ref(engine)

    def checked_out() -> float:
        living: Any = reference()
        return living.pool.checkedout() if living is not None else 0.0

    metrics.POOL_CONNECTIONS.labels(name, pool).set_function(checked_out)
    queue_pool: Any = engine.pool
    metrics.POOL_SIZE.labels(name, pool).set(queue_pool.size())


def _engine(url: str, *, name: str, pool_size: int, session: Mapping[str, object], **options: Any) -> AsyncEngine:
    new_engine = create_async_engine(
        database_url.for_sqlalchemy(url),
        **options,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT,
        pool_recycle=600,
        # The connection used last is the one whose statements are prepared and whose backend is in the caches.
        pool_use_lifo=True,
        connect_args={
            "async_creator_fn": tracing.connection().connect,
            "application_name": name,
            "connect_timeout": 3,
            **session,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 2,
            "tcp_user_timeout": 10_000,
        },
    )
    event.listen(new_engine.sync_engine, "checkout", _refuse_closed)
    event.listen(new_engine.sync_engine, "handle_error", _invalidate_unusable)
    return new_engine


def autocommit(engine: AsyncEngine) -> AsyncEngine:
    """Return the engine's twin, whose `connect` makes each statement a transaction of its own.

    For reads, and for what is one statement: a third of the round trips, and no ROLLBACK at the end of the block. Its
    connections are so from the start: switching one over at each checkout can be cancelled half-way, and then it is lost.
    """
    return _autocommit_twins[engine.sync_engine]


def translate(error: Exception) -> errors.Error | None:
    """Return `Unavailable` for an unreachable, stopping or read-only database and for a lost connection, else None."""
    # COPY raises the driver's own errors.
    if isinstance(error, (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, psycopg.OperationalError)):
        _count_unavailable(error)
        return errors.Unavailable("The database isn't responding. Try again.", code="database_unavailable")
    if isinstance(error, psycopg.Error) and is_unusable(error):
        metrics.PG_READ_ONLY.inc()
        return errors.Unavailable("The database does not accept writes now. Try again.", code="database_unavailable")
    if getattr(error, "connection_invalidated", False) or _has_ended_session(error):
        metrics.PG_LOST.inc()
        return errors.Unavailable("The database connection was lost. Try again.", code="database_unavailable")
    return None


def translate_call(error: Exception) -> errors.Error | None:
    """Return `InvalidArgument` for a text of a request that PostgreSQL cannot hold, else what `translate` returns."""
    cause = getattr(error, "orig", error)
    # The driver refuses it, so there is no code of the server.
    if isinstance(cause, psycopg.DataError) and cause.sqlstate is None and "NUL" in str(cause):
        return errors.InvalidArgument("A text contains NUL (U+0000), which cannot be stored.")
    return translate(error)


def _count_unavailable(error: Exception) -> None:
    if isinstance(error, exc.TimeoutError):
        metrics.PG_POOL_TIMEOUT.inc()
    elif _sqlstate(error) in _TIMEOUTS:
        metrics.PG_STATEMENT_TIMEOUT.inc()
    else:
        metrics.PG_UNREACHABLE.inc()


def _invalidate_unusable(context: ExceptionContext) -> None:
    """Let the pool replace a connection to a server that shuts down or only reads, as a former primary does.

    The pool's other idle connections are replaced as well: they lead to the same server.
    """
    if is_unusable(context.original_exception):
        context.is_disconnect = True


def _refuse_closed(connection: Any, record: object, fairy: object) -> None:
    """Let the pool replace a connection that the server has closed, so that a restarted database costs no caller an error.

    Nothing was asked on an idle connection, so it can be read only if it has ended. Unlike a ping, looking costs no round trip.
    """
    if is_closed(connection.driver_connection):
        raise exc.InvalidatePoolError()


def is_closed(connection: psycopg.AsyncConnection) -> bool:
    """Return whether the server has closed an idle connection, without a round trip."""
    return connection.closed or driver.has_event(connection.fileno())


def is_unusable(error: BaseException) -> bool:
    """Return whether an error, of the driver or of SQLAlchemy, comes from a server that shuts down or only reads."""
    return _sqlstate(error) in _UNUSABLE_SERVER


def _has_ended_session(error: BaseException) -> bool:
    """Return whether the server ended the session with an error, as it ends a transaction that is idle for too long."""
    diagnostics = getattr(getattr(error, "orig", error), "diag", None)
    return getattr(diagnostics, "severity_nonlocalized", None) in _ENDS_SESSION


def _sqlstate(error: BaseException) -> str | None:
    """Return the code of an error of the driver or of SQLAlchemy."""
    code: str | None = getattr(getattr(error, "orig", error), "sqlstate", None)
    return code


def violated_constraint(error: exc.IntegrityError) -> str:
    """Return the constraint that refused a row; empty if the error names none."""
    diagnostics = getattr(error.orig, "diag", None)
    return getattr(diagnostics, "constraint_name", None) or ""
