"""Limits of JSON values."""

from __future__ import annotations

import pytest

from chassis import errors
from services.jobs import convert

LIMIT = 64 * 1024


@pytest.mark.parametrize("character", ["a", "é", "ß", "中", "😀", "\u2028", '"'])
def test_limit_counts_bytes_of_utf8_whatever_the_script(character: str) -> None:
    text = character * ((LIMIT - 100) // len(character.encode()) // (2 if character == '"' else 1))
    message = convert.json_to_proto({"text": text})
    assert convert.json_from_proto(message, "payload", LIMIT) == {"text": text}
    with pytest.raises(errors.InvalidArgument, match="at most 65536 bytes"):
        convert.json_from_proto(convert.json_to_proto({"text": text + character * 100}), "payload", LIMIT)


@pytest.mark.parametrize("character", ["a", "中", "😀"])
def test_limit_of_a_checkpoint_counts_bytes_of_utf8(character: str) -> None:
    text = character * ((convert.MAX_RESULT_BYTES - 100) // len(character.encode()))
    assert convert.value_from_proto(convert.value_to_proto(text), "value") == text
