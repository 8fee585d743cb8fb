"""The form of bearer secrets: their prefixes, and the checksum of API tokens."""

from __future__ import annotations

import re
import zlib

import pytest

from services.auth import tokens

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_api_tokens_are_found_by_one_pattern_and_carry_a_checksum() -> None:
    token = tokens.new_api_token()
    assert re.fullmatch("rpa_[0-9A-Za-z]{49}", token)
    checksum = 0
    for digit in token[-6:]:
        checksum = checksum * 62 + ALPHABET.index(digit)
    assert checksum == zlib.crc32(token[:-6].encode())
    assert tokens.api_token_hash(token) is not None


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1], lambda t: f"{t}0", lambda t: f"rpv_{t[4:]}", lambda t: t.swapcase()]
)
def test_misspelled_api_tokens_have_no_hash(change: object) -> None:
    assert callable(change)
    assert tokens.api_token_hash(change(tokens.new_api_token())) is None


def test_one_kind_of_secret_is_not_accepted_as_another() -> None:
    secrets = {
        tokens.new_session: tokens.session_hash,
        tokens.new_api_token: tokens.api_token_hash,
        tokens.new_challenge: tokens.challenge_hash,
        tokens.new_link: tokens.link_hash,
        tokens.new_ceremony: tokens.ceremony_hash,
    }
    for new, own_hash in secrets.items():
        secret = new()
        assert [hash_ for hash_ in secrets.values() if hash_(secret) is not None] == [own_hash]
