"""Page tokens are accepted only by the list that issued them."""

from __future__ import annotations

import base64

import pytest

from chassis import errors, ids, paging


def test_token_returns_its_position() -> None:
    token = paging.token(["2026-01-01", "id"], filters=("a", 1))
    assert paging.position(token, filters=("a", 1), length=2) == ["2026-01-01", "id"]
    assert paging.position("", filters=("a", 1), length=2) is None


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "!!!",
        "AAAA",
        base64.urlsafe_b64encode(b"{}").decode(),
        base64.urlsafe_b64encode(b'["digest"]').decode(),
        base64.urlsafe_b64encode(b"12").decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        "é",
        paging.token(["only one"], filters=()),
        paging.token(["a", "b"], filters="others"),
    ],
)
def test_foreign_token_is_refused(token: str) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        paging.position(token, filters=(), length=2)
    assert excinfo.value.field == "page_token"


def test_sizes_have_a_default_and_a_maximum() -> None:
    assert [paging.size(requested) for requested in (0, 1, 100, 10**9)] == [20, 1, 100, 100]
    with pytest.raises(errors.InvalidArgument):
        paging.size(-1)


@pytest.mark.parametrize("text", ["", "x", "{00000000-0000-0000-0000-000000000000}", "0" * 32, "urn:uuid:" + "0" * 32])
def test_an_id_has_one_spelling(text: str) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        ids.parse(text, "job_id")
    assert excinfo.value.field == "job_id"


def test_ids_sort_by_time_and_have_version_seven() -> None:
    row_ids = [ids.uuid7() for _ in range(1_000)]
    assert len(set(row_ids)) == 1_000
    assert {(generated.version, generated.variant) for generated in row_ids} == {(7, "specified in RFC 4122")}
    assert [generated.int >> 80 for generated in row_ids] == sorted(generated.int >> 80 for generated in row_ids)
