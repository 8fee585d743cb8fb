"""Signed identity of every call between services: which service calls, and for which user.

Both are JSON Web Tokens (RFC 7519) signed with Ed25519 (RFC 8037). Each service signs its own calls; only auth signs
for users. Keys are raw 32 bytes in base64url without padding.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chassis import errors

CALLER_LIFETIME = 120
USER_LIFETIME = 300
_LEEWAY = 60
"""Seconds by which the clocks of two hosts may differ. `iat` is not verified: a signer whose clock is ahead is no forger."""
_SERVICE = "service/"
"""The audience of a caller token is this and the service that is called: another one cannot use it to call in its name."""
_CACHE_LIMIT = 10_000
_USER = "user"
_API_TOKEN = "api-token"  # noqa: S105 - an audience
"""The audience of identities of API tokens. A verifier that does not know scopes refuses them."""
USER_ISSUER = "auth"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The user for whom a call is made."""

    user_id: str
    role: str
    session_id: str
    can_access_dashboard: bool = False
    """Whether the user may see the dashboard and its rows; False without the claim."""
    scopes: frozenset[str] | None = None
    """The scopes of the API token of the call; None for a session, which has no limits of this kind."""

    @property
    def is_admin(self) -> bool:
        """Whether the user may see and change what belongs to others."""
        return self.role == "admin"

    def require_account(self) -> None:
        """Raise `PermissionDenied` `account_required` for a guest."""
        if self.role == "guest":
            raise errors.PermissionDenied("Guests can't do this. Create an account first.", code="account_required")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The caller of the call being handled."""

    service: str
    user: User | None
    user_token: str = ""
    """The user's identity as received, to pass it on."""

    def require_user(self) -> User:
        """Return the user. Raises `Unauthenticated` for a call without a user."""
        if self.user is None:
            raise errors.Unauthenticated("This call must be made for a user.")
        return self.user


current: ContextVar[Caller | None] = ContextVar("caller", default=None)


def caller() -> Caller:
    """Return the caller of the call being handled."""
    value = current.get()
    if value is None:
        raise errors.Unauthenticated("No call is being handled.")
    return value


class SessionRequired(errors.PermissionDenied):
    """API tokens can't do this. Sign in instead."""

    default_code = "session_required"


class ScopeMissing(errors.PermissionDenied):
    """The API token lacks a scope."""

    default_code = "scope_missing"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This API token lacks the scope {scope}.", details={"scope": scope})


def require_scope(scopes: frozenset[str], required: str) -> None:
    """Raise `ScopeMissing` unless an API token has the scope; `SessionRequired` if no scope suffices (empty)."""
    if not required:
        raise SessionRequired()
    if required not in scopes:
        raise ScopeMissing(required)


def public_key(seed: str) -> str:
    """Return the public key that belongs to a private seed."""
    key = Ed25519PrivateKey.from_private_bytes(_decode(seed))
    return _encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


class Signer:
    def __init__(self, service: str, seed: str) -> None:
        self.service = service
        self._key = Ed25519PrivateKey.from_private_bytes(_decode(seed))
        self._key_id = public_key(seed)
        self._tokens: dict[str, tuple[str, float]] = {}

    def caller_token(self, audience: str) -> str:
        """Return a token saying that this service calls the service `audience`; the same for half its life: signing costs."""
        now = time.time()
        token, renew_at = self._tokens.get(audience, ("", 0.0))
        if now >= renew_at:
            token = self._sign({"iss": self.service, "aud": _SERVICE + audience}, now, CALLER_LIFETIME)
            self._tokens[audience] = token, now + CALLER_LIFETIME / 2
        return token

    def user_token(self, user: User, *, lifetime: float = USER_LIFETIME) -> tuple[str, float]:
        """Return a signed identity of a user, valid for `lifetime` seconds, at most five minutes.

        The second value is the time (Unix seconds) at which it expires.
        """
        now = time.time()
        lifetime = min(lifetime, USER_LIFETIME)
        claims: dict[str, str | bool] = {
            "iss": self.service,
            "aud": _USER,
            "sub": user.user_id,
            "role": user.role,
            "sid": user.session_id,
            "dashboard": user.can_access_dashboard,
        }
        if user.scopes is not None:
            claims |= {"aud": _API_TOKEN, "scope": " ".join(sorted(user.scopes))}
        return self._sign(claims, now, lifetime), now + lifetime

    def _sign(self, claims: Mapping[str, str | bool], now: float, lifetime: float) -> str:
        timed = {**claims, "iat": int(now), "exp": int(now + lifetime)}
        return jwt.encode(timed, self._key, algorithm="EdDSA", headers={"kid": self._key_id})


class Verifier:
    """Checks tokens against the public keys of the services. Caches verified tokens until they expire."""

    def __init__(self, trust: str) -> None:
        self._keys: dict[str, tuple[str, Ed25519PublicKey]] = {}
        for entry in filter(None, (part.strip() for part in trust.split(","))):
            service, _, key = entry.partition(":")
            self._keys[key] = (service, Ed25519PublicKey.from_public_bytes(_decode(key)))
        self._verified: dict[tuple[str, tuple[str, ...]], dict[str, Any]] = {}

    def service(self, token: str, audience: str) -> str:
        """Return the service that signed a token to call the service `audience`, or raise `Unauthenticated`."""
        return str(self._verify(token, _SERVICE + audience)["iss"])

    def user(self, token: str) -> User:
        """Return the user of a token signed by auth, or raise `Unauthenticated`."""
        claims = self._verify(token, _USER, _API_TOKEN)
        if claims["iss"] != USER_ISSUER:
            raise errors.Unauthenticated(f"{claims['iss']} may not sign for users.")
        return User(
            user_id=claims["sub"],
            role=claims["role"],
            session_id=claims["sid"],
            can_access_dashboard=claims.get("dashboard") is True,
            scopes=frozenset(claims["scope"].split()) if claims["aud"] == _API_TOKEN else None,
        )

    def _verify(self, token: str, *audiences: str) -> dict[str, Any]:
        cached = self._verified.get((token, audiences))
        if cached is not None and float(cached["exp"]) > time.time() - _LEEWAY:
            return cached
        try:
            service, key = self._keys[jwt.get_unverified_header(token).get("kid", "")]
            claims = jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                audience=audiences,
                issuer=service,
                leeway=_LEEWAY,
                options={"verify_iat": False, "require": ["exp"]},
            )
        except (jwt.InvalidTokenError, KeyError) as error:
            self._verified.pop((token, audiences), None)
            raise errors.Unauthenticated("The signed identity is missing or not valid.") from error
        if len(self._verified) >= _CACHE_LIMIT:
            self._verified.clear()
        self._verified[token, audiences] = claims
        return claims


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
