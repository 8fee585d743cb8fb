"""Every table and column of every service is part of the export of a user's data, or is left out for a reason."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.owner_rows import OwnerTable
from provision.services import SERVICES

MODULES = {"auth": "services.auth.data_export.owner_rows"}
OWNERS = frozenset({"owner_id", "user_id"})
COLUMNS = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = :schema"


def declared(service: str) -> tuple[Sequence[OwnerTable], Mapping[str, str]]:
    """Return the tables that a service exports, and those that it leaves out."""
    module: Any = importlib.import_module(MODULES.get(service, f"services.{service}.owner_rows"))
    return module.TABLES, module.LEFT_OUT


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    """Each service."""
    return str(request.param)


@pytest.fixture
def columns(service: str, database_url: Callable[[str], str]) -> dict[str, set[str]]:
    """The columns of each table of the database."""
    engine = sa.create_engine(database_url(service).replace("postgresql://", "postgresql+psycopg://", 1))
    tables: dict[str, set[str]] = {}
    try:
        with engine.connect() as connection:
            for table, column in connection.execute(sa.text(COLUMNS), {"schema": service}):
                tables.setdefault(f"{service}.{table}", set()).add(column)
    finally:
        engine.dispose()
    return tables


def test_every_table_is_exported_or_left_out_for_a_reason(service: str, columns: dict[str, set[str]]) -> None:
    tables, left_out = declared(service)
    exported = {table.name for table in tables}
    assert exported.isdisjoint(left_out)
    assert exported | left_out.keys() == columns.keys()
    assert all(left_out.values())


def test_every_table_with_an_owner_has_a_decision(service: str, columns: dict[str, set[str]]) -> None:
    tables, left_out = declared(service)
    owned = {name for name, of_table in columns.items() if OWNERS & of_table}
    assert owned
    assert owned <= {table.name for table in tables} | left_out.keys()


def test_every_column_is_exported_or_omitted_for_a_reason(service: str, columns: dict[str, set[str]]) -> None:
    for table in declared(service)[0]:
        assert set(table.table.columns.keys()) == columns[table.name]
        assert table.omitted.keys() <= columns[table.name] - {table.owner}, table.name
        assert all(table.omitted.values())
        assert table.owner in OWNERS


def test_no_secret_is_exported(service: str) -> None:
    for table in declared(service)[0]:
        exported = [column for column in table.table.columns if column.name not in table.omitted]
        assert not [column.name for column in exported if isinstance(column.type, sa.LargeBinary)], table.name
        assert not [column.name for column in exported if column.name.startswith("sealed_") or "hash" in column.name]
