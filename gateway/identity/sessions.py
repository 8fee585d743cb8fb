"""Validates the tokens of sessions and API tokens by calls to auth, and caches the results for a minute.

A revocation drops the cached session at once. It arrives as an event, or this replica itself makes it. A validation during which
a revocation arrives is not cached. While NATS is away, revocations do not arrive and the cache is not used. A connection to NATS
that broke silently is noticed by its pings.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from chassis import bus, errors, protobuf
from gateway import metrics
from repruv.auth.v1 import api_token_pb2, auth_events_pb2, auth_pb2, auth_service_pb2

logger = logging.getLogger(__name__)

TTL_SECONDS = 60.0
"""How long a cached session answers requests of its user."""
PASSIVE_TTL_SECONDS = 5.0
"""How long it answers passive validations, and how long the result of a passive one is cached: an open page must neither see an
ended session for longer, nor keep a session in use from its renewal."""
SCOPES: dict[int, str] = protobuf.enum_names(api_token_pb2.ApiTokenScope.DESCRIPTOR)
CACHE_LIMIT = 10_000
_ATTEMPTS = 3
_TOKEN = re.compile(r"[\x21-\x7e]{16,256}")


_API_TOKEN = "rpa_"  # noqa: S105 - a prefix


class SessionInvalid(errors.Unauthenticated):
    """Your session has ended. Sign in again."""

    default_code = "session_invalid"


class ApiTokenInvalid(errors.Unauthenticated):
    """The API token is incorrect, expired or revoked."""

    default_code = "api_token_invalid"


def invalid(token: str) -> errors.Unauthenticated:
    return ApiTokenInvalid() if token.startswith(_API_TOKEN) else SessionInvalid()


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session that auth has confirmed, or an API token."""

    token: str = field(repr=False)
    user: auth_pb2.User
    auth_session: auth_pb2.Session
    """Empty for an API token."""
    api_token: api_token_pb2.ApiToken | None = None
    identity: str = field(repr=False)
    """Signed identity of the user, for calls to services."""
    identity_expires: float
    """Unix seconds."""

    @property
    def user_id(self) -> str:
        return self.user.user_id

    @property
    def session_id(self) -> str:
        """The id of the session or API token. It is no secret: pages may show it."""
        return self.api_token.token_id if self.api_token else self.auth_session.session_id

    @property
    def scopes(self) -> frozenset[str] | None:
        """The scopes of an API token; None for a session."""
        return None if self.api_token is None else frozenset(SCOPES[scope] for scope in self.api_token.scopes)

    @property
    def expires(self) -> float:
        """The time at which the session ends if nobody uses it, or the API token expires, in Unix seconds."""
        if self.api_token is not None:
            return self.api_token.expire_time.ToNanoseconds() / 1e9
        ends = [
            moment.ToNanoseconds() / 1e9
            for moment in (self.auth_session.idle_expire_time, self.auth_session.absolute_expire_time)
        ]
        return min((end for end in ends if end > 0), default=self.identity_expires)


class Validator(Protocol):
    """The part of the auth service that validates tokens."""

    async def validate_session(self, token: str, *, passive: bool = False) -> auth_service_pb2.ValidateSessionResponse:
        """Return the session of a token. Raises `Unauthenticated`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cached:
    session: Session
    until: float
    passive_until: float


RevokedCallback = Callable[[str, Collection[str] | None], None]
RefreshedCallback = Callable[[str, Collection[str]], None]
REFRESHED = "refreshed"
"""The reason of an event about sessions that continue: they have a new token, or the data of their user has changed."""


class Sessions:
    """Validates tokens, and caches sessions until they are revoked."""

    def __init__(self, auth: Validator, *, is_live: Callable[[], bool], clock: Callable[[], float] = time.time) -> None:
        """`is_live` returns whether revocations reach this process at the moment."""
        self._auth = auth
        self._is_live = is_live
        self._clock = clock
        self._generation = 0
        self._cache: dict[bytes, _Cached] = {}
        self._keys: defaultdict[str, set[bytes]] = defaultdict(set)
        """The keys of each user in the cache."""
        self._on_revoked: list[RevokedCallback] = []
        self._on_refreshed: list[RefreshedCallback] = []

    @property
    def is_live(self) -> bool:
        """Whether revocations reach this process at the moment."""
        return self._is_live()

    def subscribe(self, nats: bus.Bus) -> None:
        """Subscribe to revocations, and clear the cache after each reconnect, because some may have been missed."""
        nats.subscribe("auth.events.*", self._on_event)
        nats.on_connected(self.forget_all)

    def on_revoked(self, callback: RevokedCallback) -> None:
        """Call `callback(user_id, session_ids)` when sessions are revoked; None: possibly all sessions of the user."""
        self._on_revoked.append(callback)

    def on_refreshed(self, callback: RefreshedCallback) -> None:
        """Call `callback(user_id, session_ids)` when sessions continue and the cached data about them is outdated."""
        self._on_refreshed.append(callback)

    async def validate(self, token: str, *, passive: bool = False) -> Session:
        """Return the session of `token`. Raises `Unauthenticated` `session_invalid` or `api_token_invalid`, or `Unavailable`.

        A `passive` validation does not renew the session: an open page alone keeps no session alive.
        """
        if not _TOKEN.fullmatch(token):
            raise invalid(token)
        key = hashlib.sha256(token.encode()).digest()
        if (cached := self._cached(key, passive=passive)) is not None:
            metrics.SESSION_CACHE_HITS.inc()
            return cached
        metrics.SESSION_CACHE_MISSES.inc()
        attempt = 0
        while True:
            attempt += 1
            generation = self._generation
            try:
                session = await self._validate_now(token, passive=passive)
            except errors.Unauthenticated:
                self._drop(key)
                raise
            if generation == self._generation:
                self._store(key, session, passive=passive)
                return session
            # A revocation arrived during the call: auth may have read the session before it was revoked.
            if attempt == _ATTEMPTS:
                return session

    async def prefetch(self, token: str) -> None:
        """Cache a session that has just begun: its user's next request follows at once."""
        try:
            await self.validate(token)
        except errors.Error as error:
            # The sign-in succeeded. The next request validates the session again.
            logger.warning("new session was not validated", extra={"cause": error.code})

    def forget_revoked(self, user_id: str, session_ids: Collection[str] | None) -> None:
        """Drop revoked sessions of a user from the cache, and notify subscribers; None: all sessions of the user."""
        self._forget(user_id, session_ids)
        for callback in self._on_revoked:
            callback(user_id, session_ids)

    def forget_refreshed(self, user_id: str, session_ids: Collection[str]) -> None:
        """Drop sessions of a user that continue with a new token or changed data, and notify subscribers."""
        self._forget(user_id, session_ids)
        for callback in self._on_refreshed:
            callback(user_id, session_ids)

    def forget_all(self) -> None:
        """Clear the cache, because a revocation may have been missed."""
        self._generation += 1
        self._cache.clear()
        self._keys.clear()

    def _forget(self, user_id: str, session_ids: Collection[str] | None) -> None:
        self._generation += 1
        for key in tuple(self._keys.get(user_id, ())):
            if session_ids is None or self._cache[key].session.session_id in session_ids:
                self._drop(key)

    async def _validate_now(self, token: str, *, passive: bool) -> Session:
        answer = await self._auth.validate_session(token, passive=passive)
        return Session(
            token=token,
            user=answer.user,
            auth_session=answer.session,
            api_token=answer.api_token if answer.HasField("api_token") else None,
            identity=answer.identity,
            identity_expires=answer.identity_expire_time.ToNanoseconds() / 1e9,
        )

    def _cached(self, key: bytes, *, passive: bool) -> Session | None:
        cached = self._cache.get(key)
        if cached is None or not self._is_live():
            return None
        return cached.session if self._clock() < (cached.passive_until if passive else cached.until) else None

    def _store(self, key: bytes, session: Session, *, passive: bool) -> None:
        now = self._clock()
        limit = min(session.identity_expires, session.expires)
        until = now + (PASSIVE_TTL_SECONDS if passive else TTL_SECONDS)
        if (before := self._cache.get(key)) is not None:
            until = max(until, before.until)
        self._drop(key)
        while len(self._cache) >= CACHE_LIMIT:
            self._drop(next(iter(self._cache)))
        self._cache[key] = _Cached(
            session=session,
            until=min(until, limit),
            passive_until=min(now + PASSIVE_TTL_SECONDS, limit),
        )
        self._keys[session.user_id].add(key)

    def _drop(self, key: bytes) -> None:
        if (cached := self._cache.pop(key, None)) is not None:
            user_id = cached.session.user_id
            self._keys[user_id].discard(key)
            if not self._keys[user_id]:
                del self._keys[user_id]

    async def _on_event(self, received: bus.Received) -> None:
        event = auth_events_pb2.SessionsRevoked.FromString(received.payload)
        forget = self.forget_refreshed if event.reason == REFRESHED else self.forget_revoked
        forget(event.user_id, frozenset(event.session_ids))
