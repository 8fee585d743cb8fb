"""Form tokens."""

from __future__ import annotations

import pytest

from chassis import errors
from gateway.middleware import form_tokens

KEY = "A" * 43


def test_token_is_bound_to_session_visit_and_key() -> None:
    tokens = form_tokens.FormTokens(KEY)
    by_binding = {
        tokens.of_session("1"),
        tokens.of_session("2"),
        tokens.of_visit("1"),
        form_tokens.FormTokens("B" * 43).of_session("1"),
    }
    assert len(by_binding) == 4
    assert tokens.of_session("1") == form_tokens.FormTokens(KEY).of_session("1")
    assert KEY not in "".join(by_binding)


@pytest.mark.parametrize("sent", ["", "x", "\ud800", "é"])
def test_anything_else_is_refused(sent: str) -> None:
    tokens = form_tokens.FormTokens(KEY)
    right = tokens.of_session("1")
    tokens.require(right, right)
    for wrong in (sent, right + sent[:1] + " ", right[:-1], right.lower()):
        with pytest.raises(errors.PermissionDenied) as excinfo:
            tokens.require(right, wrong)
        assert excinfo.value.code == "form_expired"
