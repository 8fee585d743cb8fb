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


class Refused(Exception):
    """The error of RFC 6749 5.2 that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Somebody's consent."""

    name: str
    redirect_uri: str
    scope: str
    nonce: str
    challenge: str
    ends: float = 0.0

    @property
    def subject(self) -> str:
        """The account's id: the same name is the same account."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:20]


class Grants:
    """All that is granted now, by code or token; of too many the oldest are forgotten."""

    def __init__(self) -> None:
        self._kept: dict[str, Grant] = {}

    def consent(self, grant: Grant) -> str:
        """Note a consent; gives the code for it."""
        return self._keep("code", replace(grant, ends=time.time() + CODE_SECONDS))

    def redeem(self, code: str, *, redirect_uri: str, verifier: str) -> Grant:
        """Give what a code was given for, once, to who began (RFC 7636). Raises `Refused`."""
        grant = self._kept.pop(f"code {code}", None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if (
            grant is None
            or grant.ends < time.time()
            or (grant.redirect_uri, grant.challenge) != (redirect_uri, challenge)
        ):
            raise Refused("invalid_grant")
        return grant

    def refresh(self, token: str) -> Grant:
        """Give what a refresh token stands for; it is of no more use. Raises `Refused`."""
        if (grant := self._kept.pop(f"refresh {token}", None)) is None:
            raise Refused("invalid_grant")
        return grant

    def tokens(self, grant: Grant) -> tuple[str, str]:
        """Make an access and a refresh token."""
        return self._keep("access", replace(grant, ends=time.time() + ACCESS_SECONDS)), self._keep("refresh", grant)

    def of_access(self, token: str) -> Grant:
        """Give what an access token stands for. Raises `Refused`."""
        grant = self._kept.get(f"access {token}")
        if grant is None or grant.ends < time.time():
            raise Refused("invalid_token")
        return grant

    def revoke(self, token: str) -> None:
        """Forget a token, and all others of its account (RFC 7009); an unknown one is no error."""
        grant = self._kept.get(f"refresh {token}") or self._kept.get(f"access {token}")
        if grant is not None:
            self._kept = {key: kept for key, kept in self._kept.items() if kept.name != grant.name}

    def _keep(self, kind: str, grant: Grant) -> str:
        while len(self._kept) >= MAX_GRANTS:
            del self._kept[next(iter(self._kept))]
        value = secrets.token_urlsafe(24)
        self._kept[f"{kind} {value}"] = grant
        return value
