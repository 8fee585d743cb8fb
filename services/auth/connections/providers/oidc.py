"""Any OpenID provider (OpenID Connect Core and Discovery 1.0)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from joserfc import errors as jose_errors
from joserfc import jwt
from joserfc.jwk import KeySet

from services.auth.connections.domain import Account, Item, Tokens
from services.auth.connections.platforms import Platform
from services.auth.connections.providers import provider
from services.auth.connections.providers.outbound import InvalidResponse, Outbound, PlatformError
from services.auth.connections.providers.provider import AuthorizationRequest, Transaction

DESCRIPTION_SECONDS = 3_600.0
KEYS_SECONDS = 300.0
LEEWAY = 30
ALGORITHMS = ("RS256", "PS256", "ES256", "Ed25519", "EdDSA")
"""Accepted signature algorithms: never `none`, and no symmetric one."""
_AUTH_METHODS = ("client_secret_basic", "client_secret_post")
_NEVER_LISTED = frozenset({"offline_access"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The part of a discovery document that we need; the settings allow each of its addresses."""

    authorize_url: str
    token_url: str
    userinfo_url: str
    keys_url: str
    revoke_url: str
    is_issuer_returned: bool
    method: str


class Oidc(provider.Provider):
    """An OpenID provider. Its description is read every hour, its keys every five minutes and when a signature does not fit."""

    def __init__(self, platform: Platform, outbound: Outbound) -> None:
        super().__init__(platform, outbound)
        self._description: tuple[float, Description] | None = None
        self._keys: tuple[float, KeySet] | None = None

    async def authorization_request(self, transaction: Transaction) -> AuthorizationRequest:
        description = await self._describe()
        # Many give a refresh token only after the page of consent was shown (OpenID Connect Core 11).
        extra = {"prompt": "consent"} if "offline_access" in self.platform.scopes else {}
        url = self._client.consent_url(description.authorize_url, transaction, nonce=transaction.nonce, **extra)
        return AuthorizationRequest(
            url=url, issuer=self.platform.issuer, is_issuer_required=description.is_issuer_returned
        )

    async def exchange(self, code: str, transaction: Transaction) -> Tokens:
        """Get tokens for a code; the id token must be for us and for this very transaction."""
        description = await self._describe()
        # Read the keys before the code is used up: a failure can still be retried.
        await self._read_keys()
        answer = await self._client.exchange(description.token_url, code, transaction, method=description.method)
        tokens = provider.read_tokens(answer, required=set(self.platform.scopes) - _NEVER_LISTED)
        try:
            subject = await self._verify(answer.get("id_token"), transaction.nonce)
        except PlatformError as error:
            error.tokens = tokens
            raise
        return replace(tokens, subject=subject)

    async def refresh(self, tokens: Tokens, issued_at: datetime, now: datetime) -> Tokens:
        description = await self._describe()
        return await self._client.refresh(description.token_url, tokens, method=description.method)

    async def revoke(self, tokens: Tokens) -> bool:
        """Revoke access, if the provider has an endpoint for it (RFC 7009)."""
        description = await self._describe()
        if not description.revoke_url:
            return False
        await self._client.revoke(description.revoke_url, tokens, method=description.method)
        return True

    async def account(self, tokens: Tokens) -> Account:
        """Read the account; it must be the subject of the id token."""
        me = await self._client.get((await self._describe()).userinfo_url, bearer=tokens.access_token)
        external_id = provider.identifier(me.get("sub"))
        if external_id != tokens.subject:
            raise InvalidResponse("the account is not the subject of the id token")
        return Account(
            external_id=external_id,
            name=provider.text(me.get("name")) or provider.text(me.get("preferred_username")),
            url=provider.link(me.get("profile")),
            picture_url=provider.link(me.get("picture")),
        )

    async def items(self, tokens: Tokens) -> list[Item]:
        """Return nothing: OpenID providers have no items."""
        return []

    async def _verify(self, id_token: object, nonce: str) -> str:
        """Verify an id token and return its subject (OpenID Connect Core 3.1.3.7). Raises `InvalidResponse`."""
        if not isinstance(id_token, str) or len(id_token) > 16_384:
            raise InvalidResponse("the provider gave no id token")
        client_id = self.platform.client_id
        rules = jwt.JWTClaimsRegistry(
            leeway=LEEWAY,
            iss={"essential": True, "value": self.platform.issuer},
            aud={"essential": True, "value": client_id},
            nonce={"essential": True, "value": nonce},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            claims = await self._claims(id_token)
            rules.validate(claims)
        except (jose_errors.JoseError, ValueError, TypeError, KeyError, RecursionError):
            # `from None`: what the library says may quote the token.
            raise InvalidResponse("the id token is not for us and this transaction") from None
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if claims.get("azp", client_id if len(audiences) == 1 else None) != client_id:
            raise InvalidResponse("the id token was given to another client")
        return provider.identifier(claims["sub"])

    async def _claims(self, id_token: str) -> dict[str, Any]:
        is_fresh = self._keys is None
        keys = await self._read_keys()
        try:
            return jwt.decode(id_token, keys, algorithms=ALGORITHMS).claims
        except (jose_errors.JoseError, ValueError, KeyError):
            if is_fresh:
                raise
        # The provider may have changed its keys since.
        self._keys = None
        return jwt.decode(id_token, await self._read_keys(), algorithms=ALGORITHMS).claims

    async def _read_keys(self) -> KeySet:
        if self._keys is None or self._keys[0] < time.monotonic():
            answer = await self._client.get((await self._describe()).keys_url)
            try:
                key_set = KeySet.import_key_set({"keys": _public(answer.get("keys"))})
            except (jose_errors.JoseError, ValueError, TypeError, KeyError):
                raise InvalidResponse("the provider's keys cannot be read") from None
            self._keys = (time.monotonic() + KEYS_SECONDS, key_set)
        return self._keys[1]

    async def _describe(self) -> Description:
        if self._description is None or self._description[0] < time.monotonic():
            url = f"{self.platform.issuer.rstrip('/')}/.well-known/openid-configuration"
            description = self._read_description(await self._client.get(url))
            self._description = (time.monotonic() + DESCRIPTION_SECONDS, description)
        return self._description[1]

    def _read_description(self, answer: Mapping[str, Any]) -> Description:
        if answer.get("issuer") != self.platform.issuer:
            raise InvalidResponse("the description is of another issuer")
        listed = answer.get("token_endpoint_auth_methods_supported")
        methods = listed if isinstance(listed, list) and listed else [_AUTH_METHODS[0]]
        method = next((known_method for known_method in _AUTH_METHODS if known_method in methods), "")
        if not method:
            raise InvalidResponse("the provider supports none of our ways to authenticate")
        return Description(
            authorize_url=self._require_allowed(self.platform.authorize_url or answer.get("authorization_endpoint")),
            token_url=self._require_allowed(self.platform.token_url or answer.get("token_endpoint")),
            userinfo_url=self._require_allowed(answer.get("userinfo_endpoint")),
            keys_url=self._require_allowed(answer.get("jwks_uri")),
            revoke_url=self._require_allowed(
                self.platform.revoke_url or answer.get("revocation_endpoint"), may_lack=True
            ),
            is_issuer_returned=answer.get("authorization_response_iss_parameter_supported") is True,
            method=method,
        )

    def _require_allowed(self, url: object, *, may_lack: bool = False) -> str:
        if may_lack and not url:
            return ""
        # `urlsplit` drops line ends, which have no place in a redirect.
        is_text = isinstance(url, str) and url.isascii() and url.isprintable()
        if not isinstance(url, str) or not is_text or not self.platform.allows(url) or urlsplit(url).fragment:
            raise InvalidResponse("the description names an address that the settings do not allow")
        return url


def _public(keys: object) -> list[dict[str, Any]]:
    # Symmetric keys have no place in a published set, whatever a signature says.
    listed = keys if isinstance(keys, list) else []
    return [key for key in listed if isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP")][:50]


KIND = provider.PlatformKind(
    name="oidc",
    provider=Oidc,
    defaults={"scopes": "openid profile offline_access"},
    required=("issuer",),
)
