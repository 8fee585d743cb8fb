"""Instagram: a code gives a token for an hour, that one a token for 60 days, and only a token renews itself.

Its tokens travel in queries, as it wants them; `outbound` keeps them out of logs and errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from services.auth.connections.domain import Account, Item, Tokens
from services.auth.connections.providers import provider
from services.auth.connections.providers.outbound import PlatformRefused, PlatformUnavailable, ResponseLost
from services.auth.connections.providers.provider import AuthorizationRequest, Transaction

RENEWABLE_AFTER = timedelta(hours=24)
_TOKEN_ENDED = 190
"""The error number of its API for a token that has expired or was revoked."""


class Instagram(provider.Provider):
    """It sends no `iss`; its separate redirect URI distinguishes its responses from others. It cannot revoke tokens."""

    async def authorization_request(self, transaction: Transaction) -> AuthorizationRequest:
        url = self._client.consent_url(self.platform.authorize_url, transaction)
        return AuthorizationRequest(url=url, issuer=self.platform.issuer, is_issuer_required=False)

    async def exchange(self, code: str, transaction: Transaction) -> Tokens:
        """Get a token for an hour, and for that at once one for 60 days."""
        url, code = self.platform.token_url, code.removesuffix("#_")
        answer = await self._client.exchange(url, code, transaction, method="client_secret_post")
        brief = _first(answer)
        tokens = provider.read_tokens({**brief, "scope": _scopes(brief)}, required=self.platform.scopes)
        query = {
            "grant_type": "ig_exchange_token",
            "client_secret": self.platform.client_secret,
            "access_token": tokens.access_token,
        }
        try:
            lasting = await self._client.get(f"{self.platform.api_url}/access_token", query=query)
        except PlatformUnavailable:
            # The code is used up, so a later attempt could not come here again.
            raise ResponseLost("the lasting token did not come") from None
        return provider.read_tokens(lasting)

    def is_renewable(self, tokens: Tokens) -> bool:
        """Return True: a token renews itself."""
        return True

    async def refresh(self, tokens: Tokens, issued_at: datetime, now: datetime) -> Tokens:
        """Renew access, which is possible from a day after it was given until it ends."""
        if now < issued_at + RENEWABLE_AFTER:
            raise PlatformUnavailable("too young to be renewed", retry_after=timedelta(hours=1))
        if tokens.lifetime is not None and now >= issued_at + tokens.lifetime:
            raise provider.NotRenewable("the token has ended")
        query = {"grant_type": "ig_refresh_token", "access_token": tokens.access_token}
        try:
            answer = await self._client.get(f"{self.platform.api_url}/refresh_access_token", query=query)
        except PlatformRefused as error:
            if error.number == _TOKEN_ENDED:
                raise provider.NotRenewable("the token has ended") from None
            raise
        return provider.read_tokens(answer)

    async def revoke(self, tokens: Tokens) -> bool:
        """Return False: only users can remove us, in their settings there."""
        return False

    async def account(self, tokens: Tokens) -> Account:
        query = {"fields": "user_id,username,name,profile_picture_url", "access_token": tokens.access_token}
        me = await self._client.get(f"{self.platform.api_url}/me", query=query)
        username = provider.text(me.get("username"))
        return Account(
            external_id=provider.identifier(me.get("user_id") or me.get("id")),
            name=provider.text(me.get("name")) or username,
            url=provider.link(f"https://www.instagram.com/{username}/") if username else "",
            picture_url=provider.link(me.get("profile_picture_url")),
        )

    async def items(self, tokens: Tokens) -> list[Item]:
        """List the latest posts of the account."""
        query = {
            "fields": "id,caption,permalink,timestamp",
            "limit": str(provider.MAX_ITEMS),
            "access_token": tokens.access_token,
        }
        listed = await self._client.get(f"{self.platform.api_url}/me/media", query=query)
        return [item for item in map(_item, provider.objects(listed.get("data"))) if item][: provider.MAX_ITEMS]


def _item(entry: Mapping[str, Any]) -> Item | None:
    # `2026-01-31T12:00:00+0000`
    published_at = provider.time(str(entry.get("timestamp", "")))
    external_id = entry.get("id")
    if not isinstance(external_id, str) or not 1 <= len(external_id) <= 255 or published_at is None:
        return None
    return Item(
        external_id=external_id,
        title=provider.text(entry.get("caption"), limit=500),
        url=provider.link(entry.get("permalink")),
        published_at=published_at,
    )


def _first(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    # Some versions of its API wrap the answer.
    data = answer.get("data")
    return data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else answer


def _scopes(answer: Mapping[str, Any]) -> str | None:
    permissions = answer.get("permissions")
    if isinstance(permissions, list):
        return " ".join(map(str, permissions))
    return permissions if isinstance(permissions, str) else None


KIND = provider.PlatformKind(
    name="instagram",
    provider=Instagram,
    defaults={
        "authorize_url": "https://www.instagram.com/oauth/authorize",
        "token_url": "https://api.instagram.com/oauth/access_token",
        "api_url": "https://graph.instagram.com",
        "scopes": "instagram_business_basic",
    },
    required=("authorize_url", "token_url", "api_url"),
    titles={"instagram": "Instagram"},
)
