"""YouTube: Google's OAuth 2.0 and the YouTube Data API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.auth.connections.domain import Account, Item, Tokens
from services.auth.connections.providers import provider
from services.auth.connections.providers.outbound import InvalidResponse
from services.auth.connections.providers.provider import AuthorizationRequest, Transaction

_METHOD = "client_secret_post"


class Google(provider.Provider):
    """Google issues refresh tokens for `access_type=offline` only, and reliably only if the consent page was shown."""

    async def authorization_request(self, transaction: Transaction) -> AuthorizationRequest:
        url = self._client.consent_url(
            self.platform.authorize_url,
            transaction,
            access_type="offline",
            prompt="consent",
            include_granted_scopes="false",
        )
        # Google sends `iss`, but does not everywhere promise to.
        return AuthorizationRequest(url=url, issuer=self.platform.issuer, is_issuer_required=False)

    async def exchange(self, code: str, transaction: Transaction) -> Tokens:
        answer = await self._client.exchange(self.platform.token_url, code, transaction, method=_METHOD)
        return provider.read_tokens(answer, required=self.platform.scopes)

    async def refresh(self, tokens: Tokens, issued_at: datetime, now: datetime) -> Tokens:
        return await self._client.refresh(self.platform.token_url, tokens, method=_METHOD)

    async def revoke(self, tokens: Tokens) -> bool:
        """Revoke access: one token revokes all access of the account."""
        await self._client.revoke(self.platform.revoke_url, tokens, method=_METHOD)
        return True

    async def account(self, tokens: Tokens) -> Account:
        """Read the account: the channel."""
        channel = await self._channel(tokens)
        snippet = _nested(channel, "snippet")
        external_id = provider.identifier(channel.get("id"))
        return Account(
            external_id=external_id,
            name=provider.text(snippet.get("title")),
            url=provider.link(f"https://www.youtube.com/channel/{external_id}"),
            picture_url=provider.link(_nested(_nested(snippet, "thumbnails"), "default").get("url")),
        )

    async def items(self, tokens: Tokens) -> list[Item]:
        """List the latest videos of the channel."""
        uploads = _nested(_nested(await self._channel(tokens), "contentDetails"), "relatedPlaylists").get("uploads")
        if not isinstance(uploads, str) or not uploads:
            return []
        query = {"part": "snippet", "playlistId": uploads, "maxResults": str(provider.MAX_ITEMS)}
        listed = await self._client.get(
            f"{self.platform.api_url}/playlistItems", bearer=tokens.access_token, query=query
        )
        items = [_item(_nested(entry, "snippet")) for entry in provider.objects(listed.get("items"))]
        return [item for item in items if item][: provider.MAX_ITEMS]

    async def _channel(self, tokens: Tokens) -> Mapping[str, Any]:
        query = {"part": "snippet,contentDetails", "mine": "true"}
        answer = await self._client.get(f"{self.platform.api_url}/channels", bearer=tokens.access_token, query=query)
        if not (channels := provider.objects(answer.get("items"))):
            raise InvalidResponse("the account has no channel")
        return channels[0]


def _item(snippet: Mapping[str, Any]) -> Item | None:
    video = _nested(snippet, "resourceId").get("videoId")
    published_at = provider.time(snippet.get("publishedAt"))
    if not isinstance(video, str) or not video or len(video) > 100 or published_at is None:
        return None
    return Item(
        external_id=video,
        title=provider.text(snippet.get("title"), limit=500),
        url=provider.link(f"https://www.youtube.com/watch?v={video}"),
        published_at=published_at,
    )


def _nested(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = value.get(name)
    return part if isinstance(part, dict) else {}


KIND = provider.PlatformKind(
    name="google",
    provider=Google,
    defaults={
        "issuer": "https://accounts.google.com",
        "authorize_url": "https://accounts.google.com/o/oauth2/v2/auth",
        "token_url": "https://oauth2.googleapis.com/token",
        "revoke_url": "https://oauth2.googleapis.com/revoke",
        "api_url": "https://www.googleapis.com/youtube/v3",
        "scopes": "https://www.googleapis.com/auth/youtube.readonly",
    },
    required=("authorize_url", "token_url", "revoke_url", "api_url"),
    titles={"youtube": "YouTube"},
)
