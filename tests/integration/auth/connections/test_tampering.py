"""Forged responses, callbacks and users: all must belong to the user, session and transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

import worker
from chassis import errors
from services.auth.connections.domain import State, StateInvalid
from services.auth.connections.providers.outbound import Outbound


async def failed(owner: Any, code: str) -> None:
    """Check that the connection has failed for this reason and stores no secret."""
    connection = await owner.connection()
    assert (connection.state, connection.error and connection.error.code) == (State.FAILED, code)
    assert await owner.stored() is None
    assert not await owner.row_exists("connection_authorizations")
    assert ("connection_failed", code) in await owner.recorded()


async def test_only_the_starting_session_can_finish_and_only_once(owner: Any) -> None:
    back = await owner.consented()
    with pytest.raises(StateInvalid):
        await owner.in_another_session().come_back(back)
    with pytest.raises(StateInvalid):
        await owner.come_back({**back, "state": back["state"] + "x"})
    assert (await owner.come_back(back)).has_pending_job
    with pytest.raises(StateInvalid):
        await owner.come_back(back)


async def test_other_user_cannot_finish_with_the_same_session_id(
    owner: Any, new_owner: Callable[..., Awaitable[Any]]
) -> None:
    back = await owner.consented()
    other = await new_owner()
    thief = type(other)(parts=other.parts, user_id=other.user_id, platform=other.platform, session_id=owner.session_id)
    await thief.begin()
    with pytest.raises(StateInvalid):
        await thief.come_back(back)
    assert (await owner.connection()).awaits_consent


async def test_callback_is_valid_only_for_its_platform(owner: Any) -> None:
    back = await owner.consented()
    for platform in ("youtube", "instagram", "honest"):
        await owner.at(platform).begin()
        with pytest.raises(StateInvalid):
            await owner.at(platform).come_back(back)
    assert (await owner.come_back(back)).has_pending_job


async def test_callback_expires_after_ten_minutes(owner: Any) -> None:
    back = await owner.consented()
    await owner.age("expires_at", "10 minutes")
    with pytest.raises(StateInvalid):
        await owner.come_back(back)


async def test_last_of_two_tabs_wins(owner: Any) -> None:
    first, second = await owner.consented(), await owner.consented()
    with pytest.raises(StateInvalid):
        await owner.come_back(first)
    assert (await owner.come_back(second)).has_pending_job


async def test_all_refusals_look_the_same(owner: Any) -> None:
    back = await owner.consented()
    refusals = set()
    for wrong in ({"state": "x"}, {"iss": "https://evil.example"}, {"code": ""}, {"code": "c" * 4097}, {"state": ""}):
        with pytest.raises(StateInvalid) as excinfo:
            await owner.come_back({**back, **wrong})
        refusals.add((excinfo.value.message, excinfo.value.code, excinfo.value.field))
    assert len(refusals) == 1
    assert (await owner.come_back(back)).has_pending_job


@pytest.mark.parametrize(
    "misdeeds",
    [
        {"claims": {"nonce": "another"}},
        {"without_claims": ["nonce"]},
        {"claims": {"aud": "another-client"}},
        {"claims": {"aud": ["repruv", "another-client"]}},
        {"claims": {"aud": ["repruv", "another-client"], "azp": "another-client"}},
        {"claims": {"iss": "https://evil.example"}},
        {"claims": {"exp": 1}},
        {"without_claims": ["exp"]},
        {"without_claims": ["sub"]},
        {"without": ["id_token"]},
        {"tokens": {"id_token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJqb2huZG9lIn0."}},
        {"userinfo": {"sub": "somebody-else"}},
        {"tokens": {"token_type": "mac"}},
        {"tokens": {"access_token": ""}},
    ],
    ids=str,
)
async def test_id_token_must_be_for_this_client_and_transaction(
    owner: Any, tampering: Any, misdeeds: dict[str, Any]
) -> None:
    await tampering.misbehave(**misdeeds)
    await owner.returned()
    with pytest.raises(worker.JobFailed):
        await owner.connect()
    await failed(owner, "platform_refused")
    if "tokens" not in misdeeds or "id_token" in misdeeds["tokens"]:
        # By a job if it had been kept, else at once.
        await owner.revoke_tokens()
        assert len(await tampering.requests_to("/revoke")) == 1, "what came all the same is given back"


async def test_missing_permission_fails_the_connection(owner: Any, tampering: Any) -> None:
    await tampering.misbehave(scope="email")
    await owner.returned()
    with pytest.raises(worker.JobFailed):
        await owner.connect()
    await failed(owner, "permissions_missing")
    assert len(await tampering.requests_to("/revoke")) == 1


async def test_access_without_a_permission_that_the_platform_does_not_revoke_now_is_revoked_later(
    owner: Any, tampering: Any
) -> None:
    await tampering.misbehave(scope="email", refuse=[{"path": "/revoke", "status": 503, "times": 1}])
    await owner.returned()
    with pytest.raises(worker.JobFailed):
        await owner.connect()
    await failed(owner, "permissions_missing")
    assert (await owner.submitted())[-1] == "auth.revoke-tokens"
    assert await owner.revoke_tokens() == {"revoked": True}
    assert len(await tampering.requests_to("/revoke")) == 2


async def test_metadata_with_foreign_endpoints_is_refused(owner: Any, tampering: Any) -> None:
    for description in (
        {"token_endpoint": "https://evil.example/token"},
        {"token_endpoint": "http://169.254.169.254/token"},
        {"authorization_endpoint": "https://evil.example/authorize"},
        {"jwks_uri": "file:///etc/passwd"},
        {"issuer": "https://evil.example"},
    ):
        await tampering.misbehave(description=description)
        with pytest.raises(errors.Unavailable):
            await owner.begin()
    assert (await owner.connection()).generation == 0


async def test_metadata_of_any_shape_is_refused(owner: Any, tampering: Any) -> None:
    descriptions: tuple[dict[str, Any], ...] = (
        {"token_endpoint_auth_methods_supported": 5},
        {"token_endpoint_auth_methods_supported": [{}]},
        {"authorization_endpoint": f"{tampering.url}/authorize?two words"},
        {"authorization_endpoint": f"{tampering.url}/\r\nSet-Cookie: a=b"},
        {"token_endpoint": [f"{tampering.url}/token"]},
    )
    for description in descriptions:
        await tampering.misbehave(description=description)
        with contextlib.suppress(errors.Unavailable):
            assert (await owner.begin()).authorization_url.isprintable()
        owner.parts.operations._providers[owner.platform]._description = None


async def test_redirects_of_the_token_endpoint_are_not_followed(owner: Any, tampering: Any) -> None:
    headers = {"Location": f"{tampering.url}/elsewhere"}
    await tampering.misbehave(refuse=[{"path": "/token", "status": 307, "headers": headers, "times": 1}])
    await owner.returned()
    with pytest.raises(worker.JobFailed):
        await owner.connect()
    await failed(owner, "platform_refused")
    assert await tampering.requests_to("/elsewhere") == []


async def test_endless_response_is_cut_off_and_the_code_not_sent_again(owner: Any, tampering: Any) -> None:
    await tampering.misbehave(refuse=[{"path": "/token", "status": 200, "size": 3_000_000, "times": 1}])
    await owner.returned()
    with pytest.raises(worker.JobFailed):
        await owner.connect()
    await failed(owner, "consent_expired")


async def test_a_code_that_was_used_before_is_refused(owner: Any, tampering: Any) -> None:
    refusal = {"path": "/token", "status": 400, "body": {"error": "invalid_grant"}, "times": 1}
    await tampering.misbehave(refuse=[refusal])
    await owner.returned()
    with pytest.raises(worker.JobFailed):
        await owner.connect()
    await failed(owner, "consent_expired")


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_temporary_error_of_a_platform_is_retried(owner: Any, tampering: Any, status: int) -> None:
    await tampering.misbehave(refuse=[{"path": "/token", "status": status, "times": 1}])
    await owner.returned()
    with pytest.raises(worker.JobFailed) as excinfo:
        await owner.connect()
    assert excinfo.value.retryable
    await owner.connect(await owner.context(attempt=2))
    assert (await owner.connection()).state is State.CONNECTED


async def test_retry_after_of_a_platform_is_respected(owner: Any, tampering: Any) -> None:
    headers = {"Retry-After": "7"}
    await tampering.misbehave(refuse=[{"path": "/token", "status": 429, "headers": headers, "times": 1}])
    await owner.returned()
    with pytest.raises(worker.Snooze) as excinfo:
        await owner.connect()
    assert excinfo.value.delay == timedelta(seconds=7)
    await owner.connect(await owner.context(attempt=2))
    assert (await owner.connection()).state is State.CONNECTED


@pytest.mark.parametrize("method", ["lost", "hung"])
async def test_code_with_a_lost_response_is_never_sent_again(
    owner: Any, tampering: Any, http: Outbound, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    if method == "lost":
        await tampering.misbehave(lose=1)
    else:
        monkeypatch.setattr(http, "_timeout", 3.0)
        await tampering.misbehave(refuse=[{"path": "/token", "hang": True, "times": 1}])
    await owner.returned()
    with pytest.raises(worker.JobFailed):
        await owner.connect()
    await failed(owner, "consent_expired")
    with pytest.raises(worker.JobFailed) as again:
        await owner.connect(await owner.context(attempt=2))
    assert again.value.code == "consent_expired"
    assert len(await tampering.requests_to("/token")) == 1


async def test_names_from_a_platform_are_shown_as_text(owner: Any, tampering: Any) -> None:
    authorizations = {
        "name": "Ada\n\x1b[31m\u202eroot",
        "picture": "http://images.example/a.png",
        "profile": "javascript:alert(1)",
    }
    await tampering.misbehave(userinfo=authorizations)
    account = (await owner.connected()).account
    assert account.name.isprintable()
    assert (account.url, account.picture_url) == ("", "")


@pytest.mark.parametrize(
    "return_to",
    [
        "//evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "evil",
        "/\t/evil.example",
        "/\n/evil.example",
        "/a\r\nSet-Cookie: x=1",
        "/a b",
        "/ä",
        "/" + "a" * 500,
        " /a",
        "@evil.example",
    ],
)
async def test_return_to_is_never_another_site(owner: Any, return_to: str) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await owner.begin(return_to)
    assert excinfo.value.field == "return_to"


async def test_starts_are_throttled(owner: Any) -> None:
    for _ in range(10):
        await owner.begin()
    with pytest.raises(errors.ResourceExhausted) as excinfo:
        await owner.begin()
    assert excinfo.value.code == "too_many_attempts"
    assert int(excinfo.value.details["retry_after_seconds"]) > 0
