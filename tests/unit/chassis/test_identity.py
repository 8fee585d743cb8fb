"""Identity tokens: unsigned, foreign, expired and misused ones are refused."""

from __future__ import annotations

import base64
import secrets
import time
from typing import Any, cast

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis import errors, identity
from chassis.rpc import admission

SEEDS = {name: base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode() for name in ("auth", "demo")}
TRUST = ",".join(f"{name}:{identity.public_key(seed)}" for name, seed in SEEDS.items())
USER = identity.User(user_id="u1", role="user", session_id="s1")


def forge(service: str, **claims: object) -> str:
    """Sign any claims with the key of a service."""
    raw = base64.urlsafe_b64decode(SEEDS[service] + "=")
    now = int(time.time())
    body = {"iss": service, "aud": "service/jobs", "iat": now, "exp": now + 60, **claims}
    key = Ed25519PrivateKey.from_private_bytes(raw)
    return jwt.encode(body, key, algorithm="EdDSA", headers={"kid": identity.public_key(SEEDS[service])})


def test_signed_caller_is_verified() -> None:
    token = identity.Signer("demo", SEEDS["demo"]).caller_token("jobs")
    assert identity.Verifier(TRUST).service(token, "jobs") == "demo"


def test_auth_signs_user_identities() -> None:
    token, expires_at = identity.Signer("auth", SEEDS["auth"]).user_token(USER)
    assert identity.Verifier(TRUST).user(token) == USER
    assert expires_at - time.time() <= identity.USER_LIFETIME


def test_identity_has_dashboard_access() -> None:
    allowed = identity.User(user_id="u1", role="user", session_id="s1", can_access_dashboard=True)
    token, _ = identity.Signer("auth", SEEDS["auth"]).user_token(allowed)
    assert identity.Verifier(TRUST).user(token) == allowed


@pytest.mark.parametrize("scopes", [frozenset(), frozenset({"read"}), frozenset({"read", "write"})])
def test_identity_of_an_api_token_has_its_scopes(scopes: frozenset[str]) -> None:
    limited = identity.User(user_id="u1", role="user", session_id="t1", scopes=scopes)
    token, _ = identity.Signer("auth", SEEDS["auth"]).user_token(limited)
    assert identity.Verifier(TRUST).user(token) == limited


def test_verifier_without_scopes_refuses_the_identity_of_an_api_token() -> None:
    limited = identity.User(user_id="u1", role="user", session_id="t1", scopes=frozenset({"read"}))
    token, _ = identity.Signer("auth", SEEDS["auth"]).user_token(limited)
    with pytest.raises(errors.Unauthenticated):
        identity.Verifier(TRUST)._verify(token, "user")


def test_scopes_are_required() -> None:
    identity.require_scope(frozenset({"read"}), "read")
    with pytest.raises(identity.ScopeMissing):
        identity.require_scope(frozenset({"read"}), "write")
    with pytest.raises(identity.SessionRequired):
        identity.require_scope(frozenset({"read", "write"}), "")


@pytest.mark.parametrize("claims", [{}, {"dashboard": None}, {"dashboard": 1}, {"dashboard": "true"}])
def test_identity_without_the_claim_has_no_dashboard_access(claims: dict[str, object]) -> None:
    token = forge("auth", aud="user", sub="u1", role="user", sid="s1", **claims)
    assert not identity.Verifier(TRUST).user(token).can_access_dashboard


def test_other_services_cannot_sign_user_identities() -> None:
    token, _ = identity.Signer("demo", SEEDS["demo"]).user_token(USER)
    with pytest.raises(errors.Unauthenticated):
        identity.Verifier(TRUST).user(token)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(time.time()) - 90},
        {"iss": "auth"},
        {"aud": "user"},
        {"aud": "elsewhere"},
        {"aud": "service/demo"},
        {"aud": "jobs"},
    ],
)
def test_expired_or_misused_tokens_are_refused(claims: dict[str, object]) -> None:
    with pytest.raises(errors.Unauthenticated):
        identity.Verifier(TRUST).service(forge("demo", **claims), "jobs")


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "." * 10])
def test_malformed_token_is_refused(token: str) -> None:
    with pytest.raises(errors.Unauthenticated):
        identity.Verifier(TRUST).service(token, "jobs")


def test_an_unsigned_token_is_refused() -> None:
    body = {"iss": "demo", "aud": "service/jobs", "exp": int(time.time()) + 60}
    token = jwt.encode(body, "", algorithm="none", headers={"kid": identity.public_key(SEEDS["demo"])})
    with pytest.raises(errors.Unauthenticated):
        identity.Verifier(TRUST).service(token, "jobs")


def test_a_key_that_is_not_trusted_is_refused() -> None:
    stranger = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    with pytest.raises(errors.Unauthenticated):
        identity.Verifier(TRUST).service(identity.Signer("demo", stranger).caller_token("jobs"), "jobs")


def test_two_keys_of_a_service_are_trusted_while_it_rotates() -> None:
    new = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    verifier = identity.Verifier(f"{TRUST},demo:{identity.public_key(new)}")
    for seed in (SEEDS["demo"], new):
        assert verifier.service(identity.Signer("demo", seed).caller_token("jobs"), "jobs") == "demo"


@pytest.mark.slow
def test_cached_token_still_expires() -> None:
    verifier = identity.Verifier(TRUST)
    # Within the leeway, so that it is accepted once; and over before it can be accepted again.
    token = forge("demo", exp=int(time.time()) - 56)
    assert verifier.service(token, "jobs") == "demo"
    with pytest.raises(errors.Unauthenticated):
        for _ in range(1_000):
            verifier.service(token, "jobs")
            time.sleep(0.01)


@pytest.mark.parametrize("skew", [11, 50])
def test_clock_skew_between_hosts_refuses_no_token(skew: int) -> None:
    now = int(time.time())
    for token in (forge("demo", iat=now + skew, exp=now + skew + 60), forge("demo", iat=now - 120, exp=now - skew)):
        assert identity.Verifier(TRUST).service(token, "jobs") == "demo"


def test_a_token_without_an_end_is_refused() -> None:
    with pytest.raises(errors.Unauthenticated):
        identity.Verifier(TRUST).service(forge("demo", exp=None), "jobs")


class Call:
    """A call with metadata."""

    def __init__(self, **sent: str) -> None:
        self._sent = tuple(sent.items())

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what the caller sent."""
        return self._sent


def test_a_refused_service_signature_is_not_the_users_401(caplog: pytest.LogCaptureFixture) -> None:
    guard = admission.Admission(identity.Verifier(TRUST), is_encrypted=False)
    rpc = admission.Rpc(service="jobs", name="GetJob", callers={"demo"})
    expired = forge("demo", exp=int(time.time()) - 90)
    with pytest.raises(errors.Unavailable) as excinfo:
        guard.admit(cast("Any", Call(authorization=f"Bearer {expired}")), rpc)
    assert excinfo.value.code == "identity_refused"
    assert "service identity refused" in caplog.text
    with pytest.raises(errors.Unauthenticated):
        guard.admit(cast("Any", Call()), rpc)
