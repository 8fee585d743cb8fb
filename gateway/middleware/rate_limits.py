"""Rate limits: a bucket for each user and API token, one for each network of other callers, a smaller one for sign-ins.

Buckets are kept by each replica for itself, so what counts in all is this times the number of replicas; the throttles of
auth, which guard passwords and codes, are shared. The headers follow draft-ietf-httpapi-ratelimit-headers (10 and later).
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import addresses, settings
from chassis import errors as failures
from gateway import problems, redirects
from gateway.identity import authentication

OFF = "off"
MAX_BUCKETS = 50_000
MAX_CALLERS = 50_000
_QUOTA = re.compile(r"([1-9]\d{0,8})/([1-9]\d{0,5})")
_FREE_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
_FREE_PREFIXES = ("/static/", "/docs/")
_PAGES = {*redirects.SIGN_IN_PAGES, "/login/code", "/try"} - {"/logout"}
_CALLS = (
    "login",
    "login/code",
    "login/passkey",
    "login/passkey/options",
    "register",
    "guest",
    "token",
    "reauthenticate",
    "reauthenticate/passkey",
    "password/forgot",
    "password/reset",
    "email/verify",
    "email/change",
    "email/change/confirm",
    "email/change/revoke",
    "deletion/cancel",
)
SIGN_IN_PATHS = frozenset({*_PAGES, *(f"{base}/auth/{call}" for base in ("/api", "/api/v1") for call in _CALLS)})


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """How much is allowed, as `requests/seconds`; `off`: everything."""

    user: str
    network: str
    sign_in: str


class State(NamedTuple):
    """The state of a request's bucket. A tuple is cheap: each request creates one."""

    remaining: int
    full_after: int
    """Seconds."""
    retry_after: int
    """Seconds; 0 when the request may pass."""


class Bucket:
    """One policy: `quota` requests at once, and as many again in each window. The bucket longest unused is forgotten first."""

    def __init__(self, name: str, setting: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Parse `setting` as `requests/seconds`. Raises `SettingsError`."""
        if (match := _QUOTA.fullmatch(setting)) is None:
            variable = f"RATE_LIMIT_{name.upper().replace('-', '_')}"
            raise settings.SettingsError(
                f"{variable}={setting!r} is no limit; write requests/seconds, for example 600/60, or `{OFF}`"
            )
        self.quota, self.window = int(match[1]), int(match[2])
        self.name = name
        self.policy = f'"{name}";q={self.quota};w={self.window}'.encode()
        self._each = self.window / self.quota
        self._clock = clock
        # When each would be full again: all that a bucket has to remember.
        self._full_at: dict[str, float] = {}

    def take(self, key: str) -> State:
        """Take one from the bucket of `key`."""
        now = self._clock()
        full_at_before = self._full_at.pop(key, now)
        full_at = max(full_at_before, now) + self._each
        missing = full_at - now - self.window
        # Tolerates the rounding of summed fractions.
        is_refused = missing > self._each * 1e-6
        if is_refused:
            full_at -= self._each
        while len(self._full_at) >= MAX_BUCKETS:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[key] = full_at
        seconds_left = full_at - now
        return State(
            remaining=max(0, int((self.window - seconds_left) / self._each + 1e-6)),
            full_after=math.ceil(seconds_left),
            retry_after=max(1, math.ceil(missing)) if is_refused else 0,
        )


class RateLimit:
    """Refuses callers above their limit and reports the limits in headers. Static files and probes are exempt."""

    def __init__(self, app: ASGIApp, *, limits: RateLimits, responder: problems.ErrorResponder) -> None:
        self._app = app
        self._responder = responder
        self._user, self._network, self._sign_in = (
            Bucket(name, setting) if setting != OFF else None
            for name, setting in (("user", limits.user), ("network", limits.network), ("sign-in", limits.sign_in))
        )
        self._is_off = not (self._user or self._network or self._sign_in)
        self._callers: dict[bytes, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 429."""
        if self._is_off or scope["type"] != "http" or is_free(scope["path"]):
            await self._app(scope, receive, send)
            return
        credentials = _credentials(scope)
        caller_id = self._callers.get(credentials) if credentials else None
        taken = self._take(scope, caller_id)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                if credentials and caller_id is None and (caller := authentication.current(scope)) is not None:
                    # A program gets its own bucket: it does not slow down its user's browser.
                    is_program = caller.session.api_token is not None
                    self._note(credentials, caller.session.session_id if is_program else caller.session.user_id)
                if taken:
                    message["headers"] = [*message.get("headers", ()), *_headers(taken)]
            await send(message)

        if wait := max((state.retry_after for _, state in taken), default=0):
            refusal = failures.ResourceExhausted(
                "That was too much at once.", code="rate_limited", details={"retry_after_seconds": str(wait)}
            )
            await self._responder.send(refusal, scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    def _take(self, scope: Scope, caller_id: str | None) -> list[tuple[Bucket, State]]:
        host = scope["client"][0] if scope.get("client") else ""
        taken = []
        if caller_id is not None:
            if self._user:
                taken.append((self._user, self._user.take(caller_id)))
        elif self._network:
            taken.append((self._network, self._network.take(addresses.network(host))))
        if self._sign_in and scope["method"] == "POST" and scope["path"] in SIGN_IN_PATHS:
            taken.append((self._sign_in, self._sign_in.take(addresses.network(host))))
        return taken

    def _note(self, credentials: bytes, caller_id: str) -> None:
        """Remember the user of a bucket; its session may have ended."""
        while len(self._callers) >= MAX_CALLERS:
            del self._callers[next(iter(self._callers))]
        self._callers[credentials] = caller_id


def is_free(path: str) -> bool:
    """Return whether requests of a path have no limit: probes and static files."""
    return path in _FREE_PATHS or path.startswith(_FREE_PREFIXES)


def _credentials(scope: Scope) -> bytes | None:
    """Return a digest of the caller's bearer token or else cookies; None if it sends none.

    All users of a site behind a password of a proxy send the same `Authorization: Basic`: it identifies nobody.
    """
    cookie = None
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return hashlib.sha256(value).digest()
        if name == b"cookie":
            cookie = value
    return hashlib.sha256(cookie).digest() if cookie else None


def _headers(taken: list[tuple[Bucket, State]]) -> Iterator[tuple[bytes, bytes]]:
    """Write the headers, as bytes: this is done for every response."""
    yield b"ratelimit-policy", b", ".join([bucket.policy for bucket, _ in taken])
    credentials = ", ".join([f'"{bucket.name}";r={state.remaining};t={state.full_after}' for bucket, state in taken])
    yield b"ratelimit", credentials.encode()
