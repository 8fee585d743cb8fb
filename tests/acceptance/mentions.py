"""A search for texts in every row of every table of every service, by the catalogue: a new table is searched too."""

from __future__ import annotations

from tests.acceptance.system import System

TABLES = """
SELECT table_schema || '.' || table_name AS name FROM information_schema.tables
WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY name
"""


async def tables_that_mention(system: System, *texts: str) -> set[str]:
    """Return the tables with a row that contains one of the texts, as text or as the bytes of one of its columns."""
    lowered = [text.lower() for text in texts]
    # A row as text has its bytea columns in hex, and UUIDs with dashes. A stored UUID in bytes has none.
    sought = [*lowered, *(text.encode().hex() for text in lowered), *(text.replace("-", "") for text in lowered)]
    tables = set()
    for table in await system.query(TABLES):
        statement = f"SELECT count(*) AS rows FROM {table['name']} t WHERE lower(t::text) LIKE ANY(%s)"
        patterns = [f"%{text}%" for text in sought]
        [count] = await system.query(statement, patterns)
        if count["rows"]:
            tables.add(str(table["name"]))
    return tables
