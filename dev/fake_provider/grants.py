"""The grants of the fake provider: single-use codes, short-lived access tokens, rotating refresh tokens."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, replace

CODE_SECONDS = 60
ACCESS_SECONDS = 600
MAX_GRANTS = 1_000


class OAuthError(Exception):
    """The request was refused with an error code of RFC 6749 5.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The consent of a visitor."""

    name: str
    redirect_uri: str
    scope: str
    nonce: str
    challenge: str
    expires_at: float = 0.0

    @property
    def subject(self) -> str:
        """The id of the account. The same name is the same account."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:20]


class Grants:
    """The current grants by code or token. Above the limit the oldest are dropped."""

    def __init__(self) -> None:
        self._grants: dict[str, Grant] = {}

    def consent(self, grant: Grant) -> str:
        """Store a consent and return its code."""
        return self._store("code", replace(grant, expires_at=time.time() + CODE_SECONDS))

    def redeem(self, code: str, *, redirect_uri: str, verifier: str) -> Grant:
        """Return the grant of a code, once, to the client that began (RFC 7636). Raises `OAuthError`."""
        grant = self._grants.pop(f"code {code}", None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if (
            grant is None
            or grant.expires_at < time.time()
            or (grant.redirect_uri, grant.challenge) != (redirect_uri, challenge)
        ):
            raise OAuthError("invalid_grant")
        return grant

    def refresh(self, token: str) -> Grant:
        """Return the grant of a refresh token and invalidate the token. Raises `OAuthError`."""
        if (grant := self._grants.pop(f"refresh {token}", None)) is None:
            raise OAuthError("invalid_grant")
        return grant

    def tokens(self, grant: Grant) -> tuple[str, str]:
        """Create an access and a refresh token."""
        return self._store("access", replace(grant, expires_at=time.time() + ACCESS_SECONDS)), self._store(
            "refresh", grant
        )

    def by_access_token(self, token: str) -> Grant:
        """Return the grant of an access token. Raises `OAuthError`."""
        grant = self._grants.get(f"access {token}")
        if grant is None or grant.expires_at < time.time():
            raise OAuthError("invalid_token")
        return grant

    def revoke(self, token: str) -> None:
        """Revoke a token and all others of its account (RFC 7009). An unknown token is not an error."""
        grant = self._grants.get(f"refresh {token}") or self._grants.get(f"access {token}")
        if grant is not None:
            self._grants = {key: other for key, other in self._grants.items() if other.name != grant.name}

    def _store(self, kind: str, grant: Grant) -> str:
        while len(self._grants) >= MAX_GRANTS:
            del self._grants[next(iter(self._grants))]
        value = secrets.token_urlsafe(24)
        self._grants[f"{kind} {value}"] = grant
        return value
