"""What the service does by itself: make the first admin, delete what has ended."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from services.auth import audit, domain, throttling
from services.auth.accounts import storage as account_storage
from services.auth.accounts import validation
from services.auth.audit import Kind, Origin, record
from services.auth.context import Context
from services.auth.email import links
from services.auth.passkeys import storage as passkey_storage
from services.auth.second_factor import storage as factor_storage
from services.auth.sessions import storage as session_storage

logger = logging.getLogger(__name__)

ENDED_SESSIONS_KEPT_FOR = timedelta(days=7)
DELETE_BATCH = 500
DELETE_BATCHES = 20

_DELETIONS: Sequence[Callable[..., Awaitable[int]]] = (
    partial(session_storage.delete_ended_sessions, kept_for=ENDED_SESSIONS_KEPT_FOR),
    throttling.delete_closed_windows,
    factor_storage.delete_ended_challenges,
    factor_storage.delete_unconfirmed_factors,
    links.delete_ended_links,
    passkey_storage.delete_ended_ceremonies,
    audit.delete_old,
)


@dataclass(frozen=True, slots=True)
class Maintenance:
    """The operations."""

    context: Context

    async def ensure_admin(self, *, email: str, password: str) -> None:
        """Make the admin, whose address counts as verified, unless there is one with it; the password of that one stays.

        Nobody is promoted, since anybody may have registered this address. Raises `EmailTaken` when an ordinary user has,
        and `InvalidArgument`.
        """
        email = validation.normalize_email(email)
        validation.check_password(password, email=email)
        if await self._role(email) is None:
            await self._make_admin(email, password)
        if await self._role(email) is not domain.Role.ADMIN:
            raise domain.EmailTaken(field="email")

    async def delete_ended(self) -> None:
        """Delete what is over, in small transactions, a bounded number.

        Sessions a week after they ended; throttling windows, challenges, links and unconfirmed secrets; events after a year.
        """
        for _ in range(DELETE_BATCHES):
            most = 0
            for delete in _DELETIONS:
                async with self.context.engine.begin() as conn:
                    most = max(most, await delete(conn, limit=DELETE_BATCH))
            if most < DELETE_BATCH:
                return

    async def _role(self, email: str) -> domain.Role | None:
        async with self.context.reading().connect() as conn:
            found = await account_storage.find_account(conn, email)
        return found.user.role if found else None

    async def _make_admin(self, email: str, password: str) -> None:
        password_hash = await self.context.passwords.hash(password)
        try:
            async with self.context.transaction() as transaction:
                user = await account_storage.insert_user(
                    transaction.conn,
                    email=email,
                    name="",
                    role=domain.Role.ADMIN,
                    password_hash=password_hash,
                    is_verified=True,
                )
                await record(transaction.conn, Kind.REGISTERED, Origin(user_id=user.user_id), role=user.role.value)
        except domain.EmailTaken:
            logger.info("somebody else has made an account with the admin's address")
        else:
            logger.info("admin made", extra={"user_id": user.user_id})
