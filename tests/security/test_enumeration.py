"""No response reveals whether an address has an account: responses with and without one are equal byte for byte."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping

import httpx
import pytest

from tests.acceptance import waiting
from tests.acceptance.users import PASSWORD
from tests.security import users
from tests.security.conftest import NewPerson, Replicated
from tests.security.users import Person

Body = dict[str, str]
_OWN = frozenset({"date", "x-request-id"})
_REQUEST_ID = re.compile(r"[0-9a-f]{12}7[0-9a-f]{19}")
_BUCKET = re.compile(r"r=\d+;t=\d+")

CALLS: Mapping[str, tuple[int, Callable[[str], Body]]] = {
    "/auth/login": (401, lambda email: {"email": email, "password": "wrong-anvil-rowing"}),
    "/auth/token": (401, lambda email: {"email": email, "password": "wrong-anvil-rowing"}),
    "/auth/password/forgot": (202, lambda email: {"email": email}),
}


def comparable(answer: httpx.Response, email: str) -> tuple[int, dict[str, str], str]:
    """Return an answer without the parts that differ between requests: time, ids, remaining rate."""
    headers = {name: value for name, value in answer.headers.items() if name not in _OWN}
    if "ratelimit" in headers:
        headers["ratelimit"] = _BUCKET.sub("", headers["ratelimit"])
    return answer.status_code, headers, _REQUEST_ID.sub("", answer.text).replace(email, "")


async def ask(url: str, path: str, body: Body) -> tuple[int, dict[str, str], str]:
    async with users.at(url, address=users.new_address()) as http:
        return comparable(await http.post(f"/api/v1{path}", json=body), body["email"])


def nobody() -> str:
    return f"user-{secrets.token_hex(6)}@example.com"


@pytest.mark.parametrize("path", CALLS)
async def test_existing_unknown_and_disabled_accounts_get_the_same_answer(
    system: Replicated, new_person: NewPerson, admin: Person, path: str
) -> None:
    existing, closed = await new_person(), await new_person()
    assert (await admin.post(f"/admin/users/{closed.user_id}/disable")).status_code == 200
    expected, body = CALLS[path]
    answers = [await ask(system.url, path, body(email)) for email in (existing.email, closed.email, nobody())]
    assert answers[0][0] == expected
    assert answers[1:] == answers[:1] * 2


async def test_the_right_password_of_a_closed_account_is_a_wrong_one(
    system: Replicated, person: Person, admin: Person
) -> None:
    assert (await admin.post(f"/admin/users/{person.user_id}/disable")).status_code == 200
    right = await ask(system.url, "/auth/login", dict(person.credentials))
    assert right[0] == 401
    assert right == await ask(system.url, "/auth/login", {"email": nobody(), "password": PASSWORD})


async def test_registration_by_email_does_not_reveal_accounts(system: Replicated, person: Person) -> None:
    async with system.with_settings("auth", REGISTRATION="verified"):
        await waiting.until(system.is_healthy, "the gateways reach auth again")
        for_existing = await ask(system.url, "/auth/register", dict(person.credentials))
        new = nobody()
        assert for_existing[0] == 202
        assert for_existing == await ask(system.url, "/auth/register", {"email": new, "password": PASSWORD})
        assert "set-cookie" not in for_existing[1]
        # The owner gets an email without a verification link; the unknown address gets a link.
        assert await users.mailed_token(system.mails, new, "verify-email")
        assert (await person.get("/auth/me")).status_code == 200
