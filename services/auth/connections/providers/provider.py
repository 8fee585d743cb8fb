"""What every provider does, and what an OAuth 2.0 client does for all of them: forms, client authentication, PKCE."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, cast
from urllib.parse import quote_plus, urlencode, urlsplit

from authlib.oauth2 import rfc7009
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from services.auth.connections.domain import Account, Item, Tokens
from services.auth.connections.platforms import Platform
from services.auth.connections.providers.outbound import Outbound, Refused, Untrustworthy

MAX_ITEMS = 50
MAX_TOKEN = 8_192
_TEXT = 200


class PermissionsMissing(Refused):
    """The user, or the platform, left out a permission that was asked for."""


class NotRenewable(Refused):
    """This access cannot be renewed without the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """What one consent is asked for with; each value is made for it alone."""

    redirect_uri: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)
    nonce: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """Where the user's browser must go, and who must answer."""

    url: str = field(repr=False)
    issuer: str
    """Whom `iss` must name if it comes back (RFC 9207); empty: it must not come."""
    is_issuer_required: bool


class Provider(Protocol):
    """A platform, as connections use it. What goes wrong is `outbound.Failed`; `Unavailable` may be over later."""

    platform: Platform

    async def authorization_request(self, transaction: Transaction) -> AuthorizationRequest:
        """Give the page of consent."""

    async def exchange(self, code: str, transaction: Transaction) -> Tokens:
        """Get tokens for a code. `Lost`: the code may have been used up."""

    def is_renewable(self, tokens: Tokens) -> bool:
        """Say whether access can be renewed without the user."""

    async def refresh(self, tokens: Tokens, issued_at: datetime, now: datetime) -> Tokens:
        """Renew access; the refresh token may be another afterwards. Raises `Refused` when access has ended for good."""

    async def revoke(self, tokens: Tokens) -> bool:
        """Give access back; False if the platform has no way to."""

    async def account(self, tokens: Tokens) -> Account:
        """Say whose access it is."""

    async def items(self, tokens: Tokens) -> list[Item]:
        """Give what the account published last, at most 50."""


class Client:
    """An OAuth 2.0 client at one platform, over calls that are bounded."""

    def __init__(self, platform: Platform, outbound: Outbound) -> None:
        self.platform = platform
        self._outbound = outbound

    def consent_url(self, url: str, transaction: Transaction, **extra: str) -> str:
        """Give the address of the page of consent, with PKCE (S256)."""
        return cast(
            str,
            prepare_grant_uri(
                url,
                client_id=self.platform.client_id,
                response_type="code",
                redirect_uri=transaction.redirect_uri,
                scope=" ".join(self.platform.scopes),
                state=transaction.state,
                code_challenge=create_s256_code_challenge(transaction.verifier),
                code_challenge_method="S256",
                **extra,
            ),
        )

    async def token(self, url: str, grant: str, *, method: str, **given: str) -> Mapping[str, Any]:
        """Ask the token endpoint, authenticated by `client_secret_basic` or `client_secret_post`."""
        body = prepare_token_request(grant, "", **given)
        headers, body = self._authenticated(url, body, method)
        return (await self._outbound.post(self.platform, url, body, headers=headers)).body

    async def revoke_token(self, url: str, token: str, *, hint: str, method: str) -> None:
        """Give a token back (RFC 7009). That it is unknown there is no error."""
        body, _ = rfc7009.prepare_revoke_token_request(token, hint)
        headers, body = self._authenticated(url, body, method)
        await self._outbound.post(self.platform, url, body, headers=headers)

    async def get(self, url: str, *, bearer: str = "", query: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """Read a JSON object."""
        return (await self._outbound.get(self.platform, url, bearer=bearer, query=query)).body

    def _authenticated(self, url: str, body: str, method: str) -> tuple[dict[str, str], str]:
        is_basic = method == "client_secret_basic"
        # RFC 6749 2.3.1 has both encoded as in a form before they are joined; Authlib leaves that to us.
        escape = quote_plus if is_basic else str
        auth = ClientAuth(escape(self.platform.client_id), escape(self.platform.client_secret), method)
        _, headers, body = auth.prepare("POST", url, {}, body)
        return headers, body


def read_tokens(
    answer: Mapping[str, Any], *, refresh_token: str = "", required: Collection[str] = (), subject: str = ""
) -> Tokens:
    """Read what a token endpoint answered. `refresh_token` is the one that stays if no other came.

    Raises `Untrustworthy` for what is no such answer, and `PermissionsMissing` if less was given than `required`.
    """
    access: Any = answer.get("access_token")
    refresh: Any = answer.get("refresh_token") or refresh_token
    kind = answer.get("token_type", "bearer")
    if not _is_token(access) or (refresh and not _is_token(refresh)) or str(kind).lower() != "bearer":
        raise Untrustworthy("a token endpoint answered without usable tokens")
    tokens = Tokens(
        access_token=access, refresh_token=refresh, lifetime=_lifetime(answer.get("expires_in")), subject=subject
    )
    # Without `scope` everything that was asked for was given (RFC 6749 5.1).
    if isinstance(granted := answer.get("scope"), str) and not set(required) <= set(granted.replace(",", " ").split()):
        missing = PermissionsMissing("a token endpoint gave less than was asked for")
        missing.got = tokens
        raise missing
    return tokens


def text(value: object, *, limit: int = _TEXT) -> str:
    """Give a platform's text as we show it: without control characters, not too long; empty for what is no text."""
    if not isinstance(value, str):
        return ""
    return "".join(character if character.isprintable() else " " for character in value).strip()[:limit]


def link(value: object) -> str:
    """Give a platform's address if it is one that may be shown as a link; else nothing."""
    if (
        not isinstance(value, str)
        or len(value) > 1_000
        or not value.isascii()
        or not value.isprintable()
        or " " in value
    ):
        return ""
    try:
        parts = urlsplit(value)
        return value if parts.scheme == "https" and parts.hostname and value.startswith("https://") else ""
    except ValueError:
        return ""


def identifier(value: object) -> str:
    """Give a platform's id of something. Raises `Untrustworthy`."""
    given = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not 1 <= len(given) <= 255 or not given.isprintable():
        raise Untrustworthy("a platform named nobody")
    return given


def time(value: object) -> datetime | None:
    """Read a platform's time (RFC 3339); None if it is none."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo else None


def with_query(url: str, query: Mapping[str, str]) -> str:
    """Give an address with a query."""
    return f"{url}?{urlencode(query)}"


def _is_token(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= MAX_TOKEN and value.isascii() and value.isprintable()


def _lifetime(value: object) -> timedelta | None:
    try:
        seconds = int(str(value))
    except ValueError:
        return None
    return timedelta(seconds=min(seconds, 400 * 86_400)) if seconds > 0 else None
