"""The tables of this service that the export of a user's data contains, and those that it leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chassis.owner_rows import OwnerTable
from lifecycle.columns import BOOKKEEPING
from services.demo import schema
from services.demo.exports.schema import exports

_TRANSITIONS = dict.fromkeys(BOOKKEEPING, "bookkeeping of transitions")
TABLES: Sequence[OwnerTable] = (
    OwnerTable(table=schema.demo_modes, omitted=_TRANSITIONS),
    OwnerTable(table=schema.content),
    OwnerTable(table=schema.interactions),
    OwnerTable(table=exports, omitted=_TRANSITIONS),
)
LEFT_OUT: Mapping[str, str] = {
    "demo.export_chunks": "The exported file has the rows of demo.interactions.",
    "demo.idempotency_keys": "Hashes of requests, kept for a day so that a repeated request has no second effect.",
    "demo.outbox": "Messages that are being sent.",
    "demo.schema_version": "The version of the tables.",
}
"""Tables that are left out, with the reason."""
