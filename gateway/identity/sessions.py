"""Sessions: whose a cookie or bearer token is, remembered for seconds and forgotten at once when revoked.

A cached session never outlives its validity: a received revocation (or one by this process) drops the entry, and
a validation in flight meanwhile is not cached. While NATS is down no revocation arrives, so no session is cached.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Protocol

from chassis import bus, errors
from repruv.auth.v1 import auth_events_pb2, auth_pb2, auth_service_pb2

TTL_SECONDS = 5.0
CACHE_LIMIT = 10_000
_ATTEMPTS = 3
_TOKEN = re.compile(r"[\x21-\x7e]{16,256}")


class SessionInvalid(errors.Unauthenticated):
    """The session has ended; sign in again."""

    default_code = "session_invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session that auth has confirmed."""

    token: str = field(repr=False)
    user: auth_pb2.User
    login: auth_pb2.Session
    identity: str = field(repr=False)
    """Signed identity of the user, for calls to services."""
    identity_expires: float
    """Unix seconds."""
    is_renewed: bool = False
    """Whether this very validation moved the session's end away."""

    @property
    def user_id(self) -> str:
        """Whose session."""
        return self.user.user_id

    @property
    def session_id(self) -> str:
        """Which session; safe to show."""
        return self.login.session_id

    @property
    def expires(self) -> float:
        """When it ends unless it is used before, in Unix seconds."""
        ends = [
            moment.ToNanoseconds() / 1e9 for moment in (self.login.idle_expire_time, self.login.absolute_expire_time)
        ]
        return min((end for end in ends if end > 0), default=self.identity_expires)


class Validator(Protocol):
    """Who knows whose a token is."""

    async def validate_session(self, token: str, *, passive: bool = False) -> auth_service_pb2.ValidateSessionResponse:
        """Answer whose session a token is, or raise `Unauthenticated`."""


Revoked = Callable[[str, Collection[str] | None], None]
Refreshed = Callable[[str, Collection[str]], None]
REFRESHED = "refreshed"
"""The reason of an event that ends nothing: the sessions live on under a new token, or with other facts about their user."""


class Sessions:
    """Validates tokens."""

    def __init__(self, auth: Validator, *, is_live: Callable[[], bool], clock: Callable[[], float] = time.time) -> None:
        """`is_live` returns whether revocations reach this process at the moment."""
        self._auth = auth
        self._is_live = is_live
        self._clock = clock
        self._generation = 0
        self._cache: dict[bytes, tuple[Session, float]] = {}
        self._on_revoked: list[Revoked] = []
        self._on_refreshed: list[Refreshed] = []

    @property
    def is_live(self) -> bool:
        """Whether revocations reach this process at the moment."""
        return self._is_live()

    def subscribe(self, nats: bus.Bus) -> None:
        """Hear of revocations, and start afresh when some may have been missed."""
        nats.subscribe("auth.events.*", self._on_event)
        nats.on_connected(self.forget_all)

    def on_revoked(self, callback: Revoked) -> None:
        """Call `callback(user_id, session_ids)` when sessions end before their time; None: perhaps all of the user's."""
        self._on_revoked.append(callback)

    def on_refreshed(self, callback: Refreshed) -> None:
        """Call `callback(user_id, session_ids)` when sessions live on and what was known of them may be wrong."""
        self._on_refreshed.append(callback)

    async def validate(self, token: str, *, passive: bool = False) -> Session:
        """Return the session of `token`. Raises `Unauthenticated` `session_invalid`, or `Unavailable`.

        `passive` when nobody is there behind it: a page left open keeps no session alive.
        """
        if not _TOKEN.fullmatch(token):
            raise SessionInvalid()
        key = hashlib.sha256(token.encode()).digest()
        if (remembered := self._recall(key)) is not None:
            return remembered
        attempt = 0
        while True:
            attempt += 1
            generation = self._generation
            session = await self._ask(token, passive=passive)
            if generation == self._generation:
                self._remember(key, session)
                return session
            # A revocation came while auth was reading: what it read may be what was revoked.
            if attempt == _ATTEMPTS:
                return session

    def revoked(self, user_id: str, session_ids: Collection[str] | None) -> None:
        """Forget sessions of a user that ended; None: all of the user's."""
        self._forget(user_id, session_ids)
        for callback in self._on_revoked:
            callback(user_id, session_ids)

    def refreshed(self, user_id: str, session_ids: Collection[str]) -> None:
        """Forget sessions of a user that live on, under a new token or with other facts."""
        self._forget(user_id, session_ids)
        for callback in self._on_refreshed:
            callback(user_id, session_ids)

    def forget_all(self) -> None:
        """Forget everything: a revocation may have been missed."""
        self._generation += 1
        self._cache.clear()

    def _forget(self, user_id: str, session_ids: Collection[str] | None) -> None:
        self._generation += 1
        for key, (session, _) in list(self._cache.items()):
            if session.user_id == user_id and (session_ids is None or session.session_id in session_ids):
                del self._cache[key]

    async def _ask(self, token: str, *, passive: bool) -> Session:
        answer = await self._auth.validate_session(token, passive=passive)
        return Session(
            token=token,
            user=answer.user,
            login=answer.session,
            identity=answer.identity,
            identity_expires=answer.identity_expire_time.ToNanoseconds() / 1e9,
            is_renewed=answer.is_renewed,
        )

    def _recall(self, key: bytes) -> Session | None:
        session, until = self._cache.get(key, (None, 0.0))
        return session if until > self._clock() and self._is_live() else None

    def _remember(self, key: bytes, session: Session) -> None:
        self._cache.pop(key, None)
        while len(self._cache) >= CACHE_LIMIT:
            del self._cache[next(iter(self._cache))]
        until = min(self._clock() + TTL_SECONDS, session.identity_expires, session.expires)
        self._cache[key] = (replace(session, is_renewed=False), until)

    async def _on_event(self, received: bus.Received) -> None:
        event = auth_events_pb2.SessionsRevoked.FromString(received.payload)
        tell = self.refreshed if event.reason == REFRESHED else self.revoked
        tell(event.user_id, frozenset(event.session_ids))
