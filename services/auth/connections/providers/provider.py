"""The interface of providers, and the OAuth 2.0 client that all of them share: forms, client authentication, PKCE."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import quote_plus, urlsplit

from authlib.oauth2 import rfc7009
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from services.auth.connections.domain import Account, Item, Tokens
from services.auth.connections.platforms import Platform
from services.auth.connections.providers.outbound import (
    InvalidResponse,
    Outbound,
    PlatformRefused,
    PlatformUnavailable,
)

MAX_ITEMS = 50
MAX_TOKEN = 8_192
_TEXT = 200
_CLIENT_REFUSALS = frozenset({"invalid_client", "unauthorized_client"})


class PermissionsMissing(PlatformRefused):
    """The user, or the platform, did not grant a permission that was requested."""


class NotRenewable(PlatformRefused):
    """The access cannot be renewed without the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """The values of one authorization request; each is generated for it alone."""

    redirect_uri: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)
    nonce: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """The address for the user's browser, and the issuer that must answer."""

    url: str = field(repr=False)
    issuer: str
    """The issuer that `iss` must name if the callback has it (RFC 9207); empty: the callback must not have it."""
    is_issuer_required: bool


class Provider(ABC):
    """A platform. Calls raise `outbound.PlatformError`; of its subclasses, `PlatformUnavailable` may be retried."""

    def __init__(self, platform: Platform, outbound: Outbound) -> None:
        self.platform = platform
        self._client = Client(platform, outbound)

    @abstractmethod
    async def authorization_request(self, transaction: Transaction) -> AuthorizationRequest:
        """Return the address of the consent page."""

    @abstractmethod
    async def exchange(self, code: str, transaction: Transaction) -> Tokens:
        """Exchange a code for tokens. Raises `ResponseLost` if the code may have been used up."""

    def is_renewable(self, tokens: Tokens) -> bool:
        """Return whether access can be renewed without the user: by default, by a refresh token."""
        return bool(tokens.refresh_token)

    @abstractmethod
    async def refresh(self, tokens: Tokens, issued_at: datetime, now: datetime) -> Tokens:
        """Renew access; the refresh token may change. Raises `PlatformRefused` when access has ended permanently."""

    @abstractmethod
    async def revoke(self, tokens: Tokens) -> bool:
        """Revoke access; return False if the platform has no way to."""

    @abstractmethod
    async def account(self, tokens: Tokens) -> Account:
        """Read the account of the access."""

    @abstractmethod
    async def items(self, tokens: Tokens) -> list[Item]:
        """List the latest items of the account, at most 50."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformKind:
    """A kind of platforms: how its provider is made, and what the settings of such a platform may leave out."""

    name: str
    provider: Callable[[Platform, Outbound], Provider]
    defaults: Mapping[str, str]
    """Values of settings that are not set."""
    required: tuple[str, ...]
    """Settings that must have a value, by default or set."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """The titles of platforms that are of this kind by their name."""


class Client:
    """An OAuth 2.0 client at one platform, over bounded calls."""

    def __init__(self, platform: Platform, outbound: Outbound) -> None:
        self.platform = platform
        self._outbound = outbound

    def consent_url(self, url: str, transaction: Transaction, **extra: str) -> str:
        """Return the address of the consent page, with PKCE (S256). Raises `InvalidResponse`."""
        try:
            uri = prepare_grant_uri(
                url,
                client_id=self.platform.client_id,
                response_type="code",
                redirect_uri=transaction.redirect_uri,
                scope=" ".join(self.platform.scopes),
                state=transaction.state,
                code_challenge=create_s256_code_challenge(transaction.verifier),
                code_challenge_method="S256",
                **extra,
            )
        except ValueError:
            raise InvalidResponse("the query of the consent page is malformed") from None
        return cast(str, uri)

    async def token(self, url: str, grant: str, *, method: str, **parameters: str) -> Mapping[str, Any]:
        """Call the token endpoint, authenticated by `client_secret_basic` or `client_secret_post`."""
        body = prepare_token_request(grant, "", **parameters)
        headers, body = self._add_credentials(url, body, method)
        return (await self._outbound.post(self.platform, url, body, headers=headers)).body

    async def exchange(self, url: str, code: str, transaction: Transaction, *, method: str) -> Mapping[str, Any]:
        """Exchange a code at the token endpoint."""
        return await self.token(
            url,
            "authorization_code",
            method=method,
            code=code,
            redirect_uri=transaction.redirect_uri,
            code_verifier=transaction.verifier,
        )

    async def refresh(self, url: str, tokens: Tokens, *, method: str) -> Tokens:
        """Renew access by the refresh token. Raises `NotRenewable` without one."""
        if not tokens.refresh_token:
            raise NotRenewable("there is no refresh token")
        answer = await self.token(url, "refresh_token", method=method, refresh_token=tokens.refresh_token)
        return read_tokens(answer, refresh_token=tokens.refresh_token, subject=tokens.subject)

    async def revoke(self, url: str, tokens: Tokens, *, method: str) -> None:
        """Revoke the refresh token, or else the access token (RFC 7009). An unknown token is not an error.

        Raises `PlatformUnavailable` also while the platform refuses our client: an operator can correct its credentials, and
        the caller keeps the tokens until then.
        """
        hint = "refresh_token" if tokens.refresh_token else "access_token"
        body, _ = rfc7009.prepare_revoke_token_request(tokens.refresh_token or tokens.access_token, hint)
        headers, body = self._add_credentials(url, body, method)
        try:
            await self._outbound.post(self.platform, url, body, headers=headers)
        except PlatformRefused as refused:
            if refused.is_unauthorized or refused.code in _CLIENT_REFUSALS:
                raise PlatformUnavailable(f"{self.platform.name} refuses our client") from None
            raise

    async def get(self, url: str, *, bearer: str = "", query: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """Read a JSON object."""
        return (await self._outbound.get(self.platform, url, bearer=bearer, query=query)).body

    def _add_credentials(self, url: str, body: str, method: str) -> tuple[dict[str, str], str]:
        is_basic = method == "client_secret_basic"
        # RFC 6749 2.3.1 has both encoded as in a form before they are joined; Authlib leaves that to us.
        escape = quote_plus if is_basic else str
        auth = ClientAuth(escape(self.platform.client_id), escape(self.platform.client_secret), method)
        _, headers, body = auth.prepare("POST", url, {}, body)
        return headers, body


def read_tokens(
    answer: Mapping[str, Any], *, refresh_token: str = "", required: Collection[str] = (), subject: str = ""
) -> Tokens:
    """Read the answer of a token endpoint. `refresh_token` stays valid if the answer has no other.

    Raises `InvalidResponse` for any other answer, and `PermissionsMissing` if not all of `required` was granted.
    """
    access: Any = answer.get("access_token")
    refresh: Any = answer.get("refresh_token") or refresh_token
    kind = answer.get("token_type", "bearer")
    if not _is_token(access) or (refresh and not _is_token(refresh)) or str(kind).lower() != "bearer":
        raise InvalidResponse("a token endpoint answered without usable tokens")
    tokens = Tokens(
        access_token=access, refresh_token=refresh, lifetime=_lifetime(answer.get("expires_in")), subject=subject
    )
    # Without `scope`, everything that was requested was granted (RFC 6749 5.1).
    if isinstance(granted := answer.get("scope"), str) and not set(required) <= set(granted.replace(",", " ").split()):
        missing = PermissionsMissing("a token endpoint granted less than was requested")
        missing.tokens = tokens
        raise missing
    return tokens


def text(value: object, *, limit: int = _TEXT) -> str:
    """Return a platform's text without control characters, cut to `limit`; empty for anything that is not text."""
    if not isinstance(value, str):
        return ""
    return "".join(character if character.isprintable() else " " for character in value).strip()[:limit]


def link(value: object) -> str:
    """Return a platform's address if it may be shown as a link; else an empty text."""
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


def objects(value: object) -> list[Mapping[str, Any]]:
    """Return the objects of a platform's list; none of anything else."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def identifier(value: object) -> str:
    """Return an id of a platform as text. Raises `InvalidResponse`."""
    text_ = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not 1 <= len(text_) <= 255 or not text_.isprintable():
        raise InvalidResponse("a platform sent an unusable id")
    return text_


def time(value: object) -> datetime | None:
    """Read a platform's time (RFC 3339); None for anything else."""
    try:
        moment = datetime.fromisoformat(str(value))
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _is_token(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= MAX_TOKEN and value.isascii() and value.isprintable()


def _lifetime(value: object) -> timedelta | None:
    try:
        seconds = float(str(value))
    except ValueError:
        return None
    return timedelta(seconds=int(min(seconds, 400 * 86_400))) if seconds >= 1 else None
