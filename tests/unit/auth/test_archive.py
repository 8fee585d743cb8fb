"""The archive of a data export: a valid ZIP, however it is taken, with a manifest that describes it."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import zipfile

import pytest

from services.auth.data_export.archive import Archive


@pytest.mark.parametrize("size", [7, 1_000, 1 << 20])
def test_archive_is_a_valid_zip_with_a_manifest(size: int) -> None:
    archive, data = Archive("u1"), b""
    rows = [json.dumps({"text": secrets.token_hex(2_000)}).encode() + b"\n" for _ in range(20)]
    archive.write("auth.users", b'{"name":"Mina"}\n')
    archive.write("demo.content", b"")
    for row in rows:
        archive.write("demo.interactions", row)
        while archive.pending >= size:
            data += archive.take(size)
    archive.close({"auth.outbox": "Messages."})
    while archive.pending:
        data += archive.take(size)
    with zipfile.ZipFile(io.BytesIO(data)) as read:
        assert read.testzip() is None
        assert read.namelist() == [
            *("auth/users.jsonl", "demo/content.jsonl", "demo/interactions.jsonl", "manifest.json")
        ]
        content = read.read("demo/interactions.jsonl")
        manifest = json.loads(read.read("manifest.json"))
    assert content == b"".join(rows)
    assert [(each["table"], each["rows"]) for each in manifest["files"]] == [
        ("auth.users", 1),
        ("demo.content", 0),
        ("demo.interactions", 20),
    ]
    assert manifest["files"][2]["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["left_out"] == {"auth.outbox": "Messages."}


def test_compressed_bytes_are_not_kept_after_they_are_taken() -> None:
    archive = Archive("u1")
    archive.write("auth.users", secrets.token_bytes(1 << 20))
    while archive.pending:
        archive.take(1 << 16)
    assert archive.pending == 0
    assert archive.take(10) == b""
