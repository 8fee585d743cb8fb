"""The tables and prepared statements that carry the owner, by which a larger system would be sharded.

`python -m tests.contract.owner_keys` writes them into docs/scale.md.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

import lifecycle
import services
from chassis.prepared import Prepared
from provision.services import SERVICES
from services.jobs.sql import Source
from tests.contract.test_schemas import PARTS

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- generated: owner keys -->", "<!-- end -->"

OWNERS = {"owner_id", "user_id"}
TABLES = {
    "key": "The owner is part of the primary key",
    "column": "The owner is a column; the primary key must be widened by it",
    "parent": "The owner is that of the row's job; a column must be added",
    "none": "No owner",
}
STATEMENTS = {
    "owner": "By owner",
    "job": "By job or session; the owner must be added to the call",
    "kind": "By kind, key or across owners: one for each shard",
    "all": "Over everything: one for each shard",
}
_OWNER = {"owner_id", "owner_ids", "of_owner_id", "of_user_id", "user_id", "owner"}
_KIND = {"kinds", "kind", "keys", "unique_keys"}
_ROW = {"job_id", "job_ids", "parent_ids", "token_hashes"}
_RECORD = re.compile(r"json_to_recordset\([^)]*\)\)? AS \w+ \(([^;]*?)\)")


def tables() -> dict[str, list[str]]:
    """Return the tables of all services by the keys of `TABLES`."""
    tables_by_key = defaultdict(list)
    for service in SERVICES:
        metadata: sa.MetaData = importlib.import_module(f"services.{service}.schema").metadata
        for part in PARTS.get(service, ()):
            importlib.import_module(part)
        for table in sorted(metadata.tables.values(), key=lambda table: table.fullname):
            tables_by_key[_of_table(table)].append(table.fullname)
    return dict(tables_by_key)


def _of_table(table: sa.Table) -> str:
    if OWNERS & {column.name for column in table.primary_key}:
        return "key"
    if OWNERS & {column.name for column in table.columns}:
        return "column"
    return "parent" if table.foreign_keys else "none"


def statements() -> dict[str, list[str]]:
    """Return the prepared statements by the keys of `STATEMENTS`: the parameters by which they find their rows."""
    statements_by_key = defaultdict(list)
    for name, statement in _prepared():
        statements_by_key[_of_statement(statement)].append(name)
    return dict(statements_by_key)


def _of_statement(statement: Prepared) -> str:
    parameters = set(statement._order) - set(statement._literals)
    parameters |= {
        column.split()[0] for record in _RECORD.findall(statement.sql) for column in re.split(r",\s*", record)
    }
    if parameters & _KIND - {"kind"}:
        return "kind"
    for key, names in (("owner", _OWNER), ("job", _ROW), ("kind", _KIND)):
        if parameters & names:
            return key
    return "all"


def _prepared() -> Iterator[tuple[str, Prepared]]:
    seen_ids = set()
    for package in (services, lifecycle):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "migrations" in module.name or module.name.endswith("__main__"):
                continue
            for name, value in sorted(vars(importlib.import_module(module.name)).items()):
                for suffix, statement in _of_value(value):
                    if id(statement) not in seen_ids:
                        seen_ids.add(id(statement))
                        yield f"{module.name.removeprefix('services.')}.{name.lstrip('_')}{suffix}", statement


def _of_value(value: object) -> list[tuple[str, Prepared]]:
    """Return the statements that a name of a module has, with the part of their own names."""
    if isinstance(value, Source):
        return [(".owners", value.owners), (".jobs", value.jobs)]
    return [("", value)] if isinstance(value, Prepared) else []


def page() -> str:
    """Return the page of the documentation with its lists as they must be."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    of_tables, of_statements = tables(), statements()
    lines = ["", "| tables | |", "|---|---|"]
    lines += [f"| {text} | {_listed(of_tables.get(key, []))} |" for key, text in TABLES.items()]
    lines += ["", "| statements | |", "|---|---|"]
    lines += [f"| {text} | {_listed(of_statements.get(key, []))} |" for key, text in STATEMENTS.items()]
    return "\n".join([before + BEGIN, *lines, "", END]) + rest.partition(END)[2]


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    DOCUMENT.write_text(page())
