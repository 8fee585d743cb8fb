"""Begins the sessions of guests, in bounded number."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from datetime import timedelta

from chassis import errors
from services.auth import domain, throttling
from services.auth.audit import Kind, Origin, record
from services.auth.context import Context, NewSession, begin_session
from services.auth.guests import storage

logger = logging.getLogger(__name__)

LIFETIME = timedelta(hours=4)
"""Time until a guest is erased; the job that does it starts within the hour after."""
NAME = "Guest"


class TooManyGuests(errors.ResourceExhausted):
    """Many people are trying Repruv at the moment. Create an account, or try again later."""

    default_code = "too_many_guests"


@dataclass(frozen=True, slots=True)
class Guests:
    """The operation of visitors without an account."""

    context: Context

    async def begin(self, client: domain.Client) -> NewSession:
        """Create a guest and a session. No email is sent. Raises `TooManyGuests`, `TooManyAttempts` and `TooBusy`.

        A guest counts as a registration of its network.
        """
        if not self.context.max_guests:
            raise TooManyGuests()
        async with self.context.transaction() as tx:
            limits = throttling.of_registrations(client, self.context.registrations_per_address)
            await throttling.count_each(tx.conn, limits)
        # Nobody knows the password: the session is the only way in.
        password_hash = await self.context.passwords.hash(secrets.token_urlsafe(32))
        async with self.context.transaction() as tx:
            if await storage.count_exclusively(tx.conn) >= self.context.max_guests:
                raise TooManyGuests()
            user = await storage.insert(tx.conn, name=NAME, password_hash=password_hash, lifetime=LIFETIME)
            new = await begin_session(tx, user, client, is_remembered=False)
            origin = Origin(
                user_id=user.user_id, actor_id=user.user_id, session_id=new.session.session_id, client=client
            )
            await record(tx.conn, Kind.REGISTERED, origin, role=user.role.value)
        logger.info("guest admitted", extra={"user_id": user.user_id, "session_id": new.session.session_id})
        return new
