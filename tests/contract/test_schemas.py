"""The SQLAlchemy tables equal those that the migrations create."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from provision.services import SERVICES

PARTS = {
    "auth": ("services.auth.connections.schema", "services.auth.data_export.schema"),
    "demo": ("services.demo.exports.schema",),
}
"""Modules with tables of a service besides its schema.py."""


UNINDEXED_KEYS = """
SELECT f.conrelid::regclass || ' ' || f.conname FROM pg_constraint f
WHERE f.contype = 'f' AND NOT EXISTS (
    SELECT FROM pg_index i WHERE i.indrelid = f.conrelid AND i.indpred IS NULL
        AND (i.indkey::int2[])[0:cardinality(f.conkey) - 1] @> f.conkey)
"""


@pytest.mark.parametrize("service", SERVICES)
def test_every_foreign_key_has_an_index(service: str, database_url: Callable[[str], str]) -> None:
    """Without it, each deleted row costs a search of the whole table that refers to it."""
    with psycopg.connect(database_url(service)) as connection:
        assert connection.execute(UNINDEXED_KEYS).fetchall() == []


@pytest.mark.parametrize("service", SERVICES)
def test_tables_match_the_migrations(service: str, database_url: Callable[[str], str]) -> None:
    metadata: sa.MetaData = importlib.import_module(f"services.{service}.schema").metadata
    for part in PARTS.get(service, ()):
        importlib.import_module(part)
    assert metadata.schema == service

    def is_ours(name: str | None, kind: str, parents: Any) -> bool:
        if kind == "schema":
            return name == service
        return name != "schema_version"

    # Tables of the first schema of the search path would be reflected without their schema.
    url = database_url(service).replace("postgresql://", "postgresql+psycopg://", 1)
    engine = sa.create_engine(url, connect_args={"options": "-c search_path=pg_catalog"})
    options = {"include_schemas": True, "include_name": is_ours, "compare_type": True}
    try:
        with engine.connect() as connection:
            differences = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    finally:
        engine.dispose()
    # Only the migrations define indexes, keys and checks; queries need tables and columns.
    kinds = ("index", "constraint", "fk")
    assert [difference for difference in differences if not str(difference[0]).endswith(kinds)] == []
