"""Upgrade the schema of a service: hand-written, forward-only Alembic migrations.

Runs as the service's own role, so that its objects belong to it. Several upgrades at once are safe: one works, the others
wait and find nothing left to do. `python -m services.X migrate` and the provisioning both come here.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from chassis import database_url, tls

logger = logging.getLogger(__name__)

ENVIRONMENT = Path(__file__).parent / "alembic"
VERSION_TABLE = "schema_version"
CONNECT_SECONDS = 5
LOCK_SECONDS = 120.0
POLL_SECONDS = 0.5
# A migration that waits for a lock blocks all later statements: it should fail and be run again.
LOCK_TIMEOUT = "5s"


class MigrationBusy(TimeoutError):
    """Another upgrade of the same schema did not end in time."""


def upgrade(url: str, schema: str, directory: Path, *, certificate: tls.Certificate | None = None) -> None:
    """Apply the migrations in `directory` that `schema` lacks. Raises `MigrationBusy`, and the errors of the database.

    With `certificate`, the certificate of this process, the connection is encrypted unless `url` says otherwise.
    """
    engine = sqlalchemy.create_engine(
        database_url.for_sqlalchemy(database_url.complete(url, certificate)),
        poolclass=sqlalchemy.NullPool,
        connect_args={"connect_timeout": CONNECT_SECONDS, "application_name": f"migrate {schema}"},
    )
    try:
        with engine.connect() as connection:
            _lock(connection, schema)
            # The role's limits are meant for serving: building an index may take long.
            connection.execute(text(f"SET statement_timeout = 0; SET lock_timeout = '{LOCK_TIMEOUT}'"))
            connection.execute(text("SET idle_in_transaction_session_timeout = 0"))
            connection.execute(text("SELECT set_config('search_path', :schema, false)"), {"schema": schema})
            connection.commit()
            before = _version(connection, schema)
            command.upgrade(_configuration(connection, schema, directory), "head")
            logger.info("schema %s: %s", schema, _summary(before, _version(connection, schema)))
    finally:
        engine.dispose()


def _lock(connection: sqlalchemy.Connection, schema: str) -> None:
    """Hold an advisory lock until the connection closes.

    Polls instead of waiting: a waiting statement would block CREATE INDEX CONCURRENTLY in the upgrade that holds the
    lock, forever.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    statement = text("SELECT pg_try_advisory_lock(hashtextextended('migrate ' || :schema, 0))")
    while not connection.execute(statement, {"schema": schema}).scalar_one():
        connection.commit()
        if time.monotonic() > deadline:
            raise MigrationBusy(f"another upgrade of the schema {schema} still runs after {LOCK_SECONDS:g} s")
        time.sleep(POLL_SECONDS)
    connection.commit()


def _version(connection: sqlalchemy.Connection, schema: str) -> str | None:
    options = {"version_table": VERSION_TABLE, "version_table_schema": schema}
    version = MigrationContext.configure(connection, opts=options).get_current_revision()
    connection.commit()
    return version


def _configuration(connection: sqlalchemy.Connection, schema: str, directory: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", _escape(ENVIRONMENT))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", _escape(directory))
    config.attributes.update(connection=connection, schema=schema, version_table=VERSION_TABLE)
    return config


def _escape(path: Path) -> str:
    return str(path.absolute()).replace("%", "%%")


def _summary(before: str | None, after: str | None) -> str:
    return f"at {after}, nothing to do" if before == after else f"{before or 'empty'} -> {after}"
