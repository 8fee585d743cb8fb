"""HTTP requests to platforms: only to the hosts in the settings, without redirects, bounded in time and size.

Errors and log records contain nothing of an address, a request or a response, because these carry tokens and codes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from chassis import errors
from chassis.circuit_breaker import CircuitBreaker
from services.auth.connections.domain import Tokens
from services.auth.connections.platforms import Platform

TIMEOUT = 10.0
CONNECT_TIMEOUT = 3.0
MAX_BYTES = 1 << 20
MAX_PAUSE = timedelta(hours=1)


class PlatformError(Exception):
    """A request to a platform failed. The message contains nothing that the platform sent."""

    tokens: Tokens | None = None
    """Tokens of a failed exchange, which must be revoked."""


class PlatformUnavailable(PlatformError):
    """The platform does not answer, or is temporarily unavailable. The request had no effect; retrying later may help."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """The wait that the platform asks for; None if it does not say."""


class ResponseLost(PlatformUnavailable):
    """The request got no response, so it is unknown whether it had an effect."""


class PlatformRefused(PlatformError):
    """The platform refused the request; repeating it is useless."""

    def __init__(self, message: str, *, code: str = "", number: int = 0, is_unauthorized: bool = False) -> None:
        super().__init__(message)
        self.is_unauthorized = is_unauthorized
        """Whether the status was 401: a bearer token is not valid (any more)."""
        self.number = number
        """The number that some platforms' APIs return instead; 0 for none."""
        self.code = code
        """The `error` of RFC 6749, of those that this RFC and its successors name; empty for any other."""


class InvalidResponse(PlatformError):
    """The response cannot be trusted or used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The response of a platform."""

    status: int
    body: Mapping[str, Any]
    """A JSON object; empty for anything else."""


_OAUTH_ERRORS = frozenset(
    {
        "access_denied",
        "insufficient_scope",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalid_token",
        "unauthorized_client",
        "unsupported_grant_type",
        "unsupported_token_type",
    }
)


class Outbound:
    """Calls of one process to platforms."""

    def __init__(self, *, timeout: float = TIMEOUT) -> None:
        # httpx logs every address at `info`, httpcore every header at `debug`: tokens would be logged, depending on LOG_LEVEL.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._timeout = timeout
        self._breakers: dict[str, CircuitBreaker] = {}
        """By host."""
        self._client = httpx.AsyncClient(
            follow_redirects=False,
            # No proxies and no ~/.netrc of the environment: only the settings decide where secrets go.
            trust_env=False,
            verify=ssl.create_default_context(),
            timeout=httpx.Timeout(timeout, connect=min(CONNECT_TIMEOUT, timeout)),
            limits=httpx.Limits(max_connections=50, max_keepalive_connections=10),
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "Repruv"},
            # Cookies of one user's request would be sent with those of all others, and be kept for good.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def get(
        self,
        platform: Platform,
        url: str,
        *,
        bearer: str = "",
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a GET request. Raises `PlatformError` for any response but a success."""
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        return await self._send(platform, "GET", url, headers, params=query or None)

    async def post(
        self, platform: Platform, url: str, body: str, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send an encoded form. Raises `PlatformError` for any response but a success."""
        request_headers = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return await self._send(platform, "POST", url, request_headers, content=body.encode())

    async def _send(
        self, platform: Platform, method: str, url: str, headers: Mapping[str, str], **parts: Any
    ) -> Answer:
        # `from None`: the causes contain the request, and with it secrets.
        try:
            request = self._client.build_request(method, url, headers=headers, **parts)
        except (httpx.InvalidURL, UnicodeError):
            raise InvalidResponse(f"{platform.name}: the address is malformed") from None
        if not platform.allows(str(request.url)):
            raise InvalidResponse(f"{platform.name}: an address that the settings do not allow")
        try:
            with self._breaker(request.url.netloc.decode()).call():
                async with asyncio.timeout(self._timeout):
                    response = await self._client.send(request, stream=True)
                    try:
                        body = await self._read(response)
                    finally:
                        await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, errors.Unavailable):
            raise PlatformUnavailable(f"{platform.name} cannot be reached") from None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ssl.SSLError):
            raise ResponseLost(f"{platform.name} did not answer") from None
        return _judge(platform, response, body)

    def _breaker(self, host: str) -> CircuitBreaker:
        if host not in self._breakers:
            self._breakers[host] = CircuitBreaker(host, silence=(TimeoutError, httpx.TimeoutException))
        return self._breakers[host]

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_BYTES:
                raise httpx.DecodingError("too long")
        return bytes(body)


def _judge(platform: Platform, response: httpx.Response, body: bytes) -> Answer:
    status = response.status_code
    if status == 429 or status >= 500:
        raise PlatformUnavailable(f"{platform.name} answered {status}", retry_after=_retry_after(response)) from None
    if 300 <= status < 400:
        raise PlatformRefused(f"{platform.name} answered {status}: redirects are not followed")
    try:
        content = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        content = {}
    answer = Answer(status=status, body=content if isinstance(content, dict) else {})
    if status >= 400 or answer.body.get("error"):
        error_code = answer.body.get("error")
        raise PlatformRefused(
            f"{platform.name} answered {status}",
            code=error_code if isinstance(error_code, str) and error_code in _OAUTH_ERRORS else "",
            number=number if isinstance(error_code, dict) and isinstance(number := error_code.get("code"), int) else 0,
            is_unauthorized=status == 401,
        )
    return answer


def _retry_after(response: httpx.Response) -> timedelta | None:
    text = response.headers.get("Retry-After", "")
    try:
        if text.isdecimal():
            pause = timedelta(seconds=min(int(text[:9]), MAX_PAUSE.total_seconds()))
        else:
            pause = parsedate_to_datetime(text) - datetime.now(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(timedelta(seconds=1), min(pause, MAX_PAUSE))
