"""The report of an import, as text and as JSON: numbers, reasons and ids of old rows, no personal data."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from provision.legacy import ledger
from provision.legacy.source import SESSIONS, SHAPES, USERS, Source

EXAMPLES = 5
MEANINGS = {
    "email_unusable": "left out: the address is missing, too long or no address",
    "email_taken": "left out: an account with this address exists, from an earlier row or from a registration",
    "time_replaced": "the time of creation is missing or impossible; it is the time of the import now",
    "admin_not_granted": "was an administrator; is an ordinary user now, until an operator grants the role",
    "password_unusable": "the password hash is missing or no bcrypt hash; the user resets the password by email",
    "name_cleaned": "control or invisible characters were removed from the name",
    "name_shortened": "the name was cut to 100 characters",
    "demo_status_unknown": "the status of demo mode is unknown; demo mode is off",
    "demo_contradiction": "demo_mode and demo_mode_status disagree; the status counts",
    "demo_rebuilt": "demo mode was on; the demo service builds its data again",
    "demo_stuck": "demo mode was being enabled; it has failed now, and the user can enable it again",
    "demo_failed": "demo mode had failed; the user can enable it again",
    "owner_unknown": "left out: there is no such user in the old database",
    "owner_left_out": "left out: its user was left out",
    "owner_deleted": "left out: its user has deleted the account since",
    "platform_unusable": "left out: the name of the platform is not 1 to 32 characters of a-z 0-9 -",
    "status_unknown": "left out: its status is unknown",
    "connection_exists": "left out: the user has a connection to this platform already",
    "connect_again": "was connected; tokens are not moved, so the user connects again",
    "connection_stuck": "was connecting; it has failed now, and the user can connect again",
    "time_unusable": "left out: the time of creation is missing or impossible",
    "job_too_old": "left out: it ended more than 365 days ago",
    "job_exists": "it was there already",
    "job_interrupted": "had not ended; is a failed job now and does not run again",
}
"""What each note of the ledger means."""

_NOTES = sa.text(f"""
    SELECT note, count(*) AS rows, (array_agg(legacy_id ORDER BY legacy_id))[1:CAST(:examples AS integer)] AS ids
    FROM {ledger.SCHEMA}.rows, unnest(notes) AS note WHERE source = :source GROUP BY note ORDER BY note
""")  # noqa: S608 - our own name


def build(conn: sa.Connection, source: Source, *, dry_run: bool, new: dict[str, int]) -> dict[str, Any]:
    """Return the report as JSON has it; `new` has the number of rows that this run imported, by table."""
    importable = {shape.table for shape in SHAPES}
    remarks = []
    if not source.has(USERS, "is_verified"):
        remarks.append("The old system did not verify addresses: all of them count as verified.")
    if SESSIONS in source.tables:
        remarks.append(f"{SESSIONS}: {source.count(SESSIONS):,} rows are left out; every user signs in once again.")
    return {
        "dry_run": dry_run,
        "remarks": remarks,
        "tables": {
            shape.table: {
                **_numbers(conn, shape.table),
                "new_in_this_run": new.get(shape.table, 0),
                "columns_not_imported": source.unread_columns(shape),
            }
            for shape in SHAPES
            if shape.table in source.tables
        },
        "tables_missing": sorted(importable - set(source.tables)),
        "tables_not_imported": [name for name in source.tables if name not in importable | {SESSIONS}],
    }


def text(report: dict[str, Any]) -> str:
    lines = ["Dry run: nothing was stored." if report["dry_run"] else "Import finished."]
    for name, table in report["tables"].items():
        lines += ["", f"{name}: {table['imported']:,} imported ({table['new_in_this_run']:,} by this run)"]
        lines[-1] += f", {table['left_out']:,} left out"
        for code, note in table["notes"].items():
            lines.append(f"  {note['rows']:>9,}  {note['meaning']} ({code}; ids {', '.join(note['examples'])})")
        if table["columns_not_imported"]:
            lines.append(f"  columns not imported: {', '.join(table['columns_not_imported'])}")
    lines.append("")
    lines += report["remarks"]
    for title in ("tables_missing", "tables_not_imported"):
        if report[title]:
            lines.append(f"{title.replace('_', ' ').capitalize()}: {', '.join(report[title])}")
    return "\n".join(lines)


def _numbers(conn: sa.Connection, table: str) -> dict[str, Any]:
    rows = ledger.rows
    imported = sa.func.count(rows.c.target_id)
    totals = conn.execute(sa.select(imported, sa.func.count() - imported).where(rows.c.source == table)).one()
    counted = conn.execute(_NOTES, {"source": table, "examples": EXAMPLES})
    notes = {row.note: {"meaning": MEANINGS[row.note], "rows": row.rows, "examples": row.ids} for row in counted}
    return {"imported": totals[0], "left_out": totals[1], "notes": notes}
