"""`make demo` signs in on a machine that is too busy to hash passwords in time."""

from __future__ import annotations

import httpx
import pytest

from dev import demo


def test_sign_in_is_repeated_while_passwords_are_not_hashed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "RETRY_SECONDS", 0.0)
    refused: set[str] = set()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path not in refused:
            refused.add(request.url.path)
            return httpx.Response(429, json={"detail": "The server is too busy."})
        return httpx.Response(200, json={"token": "rps_1"})

    with httpx.Client(transport=httpx.MockTransport(answer), base_url="http://gateway") as client:
        demo.sign_in(client)
        assert client.headers["Authorization"] == "Bearer rps_1"
    assert refused == {"/auth/register", "/auth/token"}


def test_sign_in_that_can_never_succeed_is_not_repeated() -> None:
    with (
        httpx.Client(
            transport=httpx.MockTransport(lambda _: httpx.Response(400, json={"detail": "refused"})),
            base_url="http://gateway",
        ) as client,
        pytest.raises(demo.DemoFailed, match="refused"),
    ):
        demo.sign_in(client)
