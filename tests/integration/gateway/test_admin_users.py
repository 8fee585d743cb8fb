"""Account administration: admins only, and never the own account."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.gateway.conftest import ADMIN_EMAIL, PASSWORD, Account

NOBODY = "01990000-0000-7000-8000-000000000000"


async def test_admins_find_accounts_and_their_events(admin: httpx.AsyncClient, account: Account) -> None:
    accounts = (await admin.get("/api/v1/admin/users", params={"email": account.email[:12].upper()})).json()
    assert [user["user_id"] for user in accounts["users"]] == [account.user_id]
    record = (await admin.get(f"/api/v1/admin/users/{account.user_id}")).json()
    assert record["user"]["email"] == account.email
    assert [login["current"] for login in record["sessions"]] == [False]
    assert record.pop("api_tokens") == []
    assert "token" not in str(record)
    events = await admin.get("/api/v1/admin/security-events", params={"user_id": account.user_id, "kind": "registered"})
    assert [event["user_id"] for event in events.json()["events"]] == [account.user_id]
    page = (await admin.get("/api/v1/admin/users", params={"page_size": 1})).json()
    assert (len(page["users"]), page["next_page_token"] != "") == (1, True)


async def test_roles_and_sessions_change_at_once(admin: httpx.AsyncClient, account: Account) -> None:
    path = f"/api/v1/admin/users/{account.user_id}"
    assert (await admin.post(f"{path}/role", json={"role": "admin"})).json()["user"]["role"] == "admin"
    assert (await account.http.get("/api/v1/auth/me")).status_code == 401
    credentials = {"email": account.email, "password": PASSWORD}
    assert (await account.http.post("/api/v1/auth/login", json=credentials)).json()["user"]["role"] == "admin"
    revoked = await admin.post(f"{path}/sessions/revoke")
    assert revoked.json() == {"revoked_count": 1}
    assert (await account.http.get("/api/v1/auth/me")).status_code == 401
    assert (await admin.post(f"{path}/password-reset")).status_code == 202
    assert (await admin.post(f"{path}/role", json={"role": "emperor"})).status_code == 422
    assert (await admin.post(f"{path}/disable")).status_code == 200
    assert (await admin.post(f"{path}/enable")).json()["user"]["disabled_at"] is None


async def test_admins_cannot_change_their_own_account(admin: httpx.AsyncClient) -> None:
    me = (await admin.get("/api/v1/auth/me")).json()
    assert me["email"] == ADMIN_EMAIL
    for action, body in (("role", {"role": "user"}), ("disable", None)):
        answer = await admin.post(f"/api/v1/admin/users/{me['user_id']}/{action}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "own_account")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "users"),
        ("GET", "users/{id}"),
        ("GET", "security-events"),
        ("POST", "users/{id}/role"),
        ("POST", "users/{id}/disable"),
        ("POST", "users/{id}/enable"),
        ("POST", "users/{id}/sessions/revoke"),
        ("POST", "users/{id}/password-reset"),
        ("DELETE", "users/{id}/second-factor"),
    ],
)
async def test_other_users_get_403(account: Account, admin: httpx.AsyncClient, method: str, path: str) -> None:
    body = {"role": "admin"} if path.endswith("role") else None
    url = "/api/v1/admin/" + path.replace("{id}", account.user_id)
    answer = await account.http.request(method, url, json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, "admin_required")
    if "{id}" in path:
        for unknown in (NOBODY, "nonsense"):
            url = "/api/v1/admin/" + path.replace("{id}", unknown)
            answer = await admin.request(method, url, json=body)
            assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")
