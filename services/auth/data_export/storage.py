"""Rows of data exports and their chunks: one function per query."""

from __future__ import annotations

import sqlalchemy as sa

from lifecycle.file_states import Action, State
from lifecycle.files import Chunks
from lifecycle.rows import Rows, reader
from services.auth.data_export import domain
from services.auth.data_export.domain import DataExport
from services.auth.data_export.schema import data_export_chunks, data_exports

EMPTY = {"chunk_count": 0, "byte_count": 0}
_NO_FILE = {**EMPTY, "expires_at": None}


DATA_EXPORTS = Rows(
    domain.MACHINE,
    data_exports,
    read=reader(DataExport, state=lambda row: State(row["state"])),
    absent=lambda user_id: DataExport(user_id=user_id),
    changes={
        Action.START: {"job_kind": domain.KIND, **_NO_FILE},
        Action.COMPLETE: {"expires_at": sa.func.now() + domain.LIFETIME},
        Action.CANCEL: _NO_FILE,
        Action.FAIL: _NO_FILE,
        Action.EXPIRE: _NO_FILE,
    },
)

CHUNKS: Chunks[DataExport] = Chunks(data_export_chunks, replaced_code="data_export_replaced")
