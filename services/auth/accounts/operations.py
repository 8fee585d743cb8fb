"""Registration, and the security overview of an account."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chassis import errors, outbox
from services.auth import audit, current_session, domain, throttling, validation
from services.auth import storage as account_storage
from services.auth.accounts import email_change_storage
from services.auth.audit import Kind, Origin, record
from services.auth.context import Context, NewSession, begin_session
from services.auth.email import jobs as email_jobs
from services.auth.second_factor import storage as factor_storage

logger = logging.getLogger(__name__)

EVENTS_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """How an account is protected, and its latest security events."""

    user: domain.User
    password_changed_at: datetime
    second_factor_since: datetime | None
    recovery_codes_left: int
    fresh_until: datetime
    events: Sequence[audit.Event]
    email_change: email_change_storage.EmailChange | None
    """The pending change of the address."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """The operations of an account's owner."""

    context: Context

    async def register(
        self, *, email: str, password: str, name: str, client: domain.Client, is_remembered: bool = False
    ) -> NewSession | None:
        """Create an account and its first session.

        Raises `EmailTaken`, `InvalidArgument`, `TooManyAttempts` and `TooBusy`. Unless registration is open it returns None
        and sends an email, whether or not the address has an account.
        """
        fields = errors.Validation()
        with fields.field():
            email = validation.normalize_email(email)
        with fields.field():
            name = validation.clean_name(name)
        with fields.field():
            validation.check_password(password, email=email)
        fields.end()
        is_open = self.context.is_registration_open
        limits = throttling.of_registrations(client, self.context.registrations_per_address)
        if not is_open:
            limits |= throttling.of_emails("register", email)
        async with self.context.transaction() as tx:
            await throttling.count_each(tx.conn, limits)
        password_hash = await self.context.passwords.hash(password)
        if not is_open:
            await self._register_by_email(email, name, password_hash, client)
            return None
        async with self.context.transaction() as tx:
            user = await account_storage.insert_user(
                tx.conn, email=email, name=name, role=domain.Role.USER, password_hash=password_hash
            )
            new = await begin_session(tx, user, client, is_remembered=is_remembered)
            await _on_registered(tx, user, client, new.session)
        logger.info("user registered", extra={"user_id": user.user_id, "session_id": new.session.session_id})
        return new

    async def get_security(self, actor: domain.Actor) -> Security:
        """Return how the account is protected and its latest security events. Raises `SessionInvalid`."""
        async with self.context.autocommit().connect() as conn:
            current = await current_session.get(conn, actor)
            account = await account_storage.get_account(conn, actor.user_id)
            if account is None:
                raise domain.SessionInvalid()
            factor = await factor_storage.get_factor(conn, actor.user_id)
            codes_left = await factor_storage.count_recovery_codes(conn, actor.user_id)
            email_change = await email_change_storage.find_pending(conn, actor.user_id)
            events = await audit.list_events(conn, user_id=actor.user_id, limit=EVENTS_SHOWN)
        return Security(
            user=account.user,
            password_changed_at=account.password_changed_at,
            second_factor_since=factor.enabled_at if factor else None,
            recovery_codes_left=codes_left,
            fresh_until=current.fresh_until,
            events=[event.for_owner() for event in events],
            email_change=email_change,
        )

    async def _register_by_email(self, email: str, name: str, password_hash: str, client: domain.Client) -> None:
        async with self.context.transaction() as tx:
            user = await account_storage.insert_user_unless_taken(
                tx.conn, email=email, name=name, role=domain.Role.USER, password_hash=password_hash
            )
            if user is None:
                # The event has no user_id: reading it would take longer than registering a new address does.
                await record(tx.conn, Kind.REGISTRATION_REPEATED, Origin(user_id=None, client=client), email=email)
                tx.publish(email_jobs.already_registered(email))
            else:
                await _on_registered(tx, user, client, None)
        logger.info("registration accepted", extra={"address": client.ip_address})


async def _on_registered(
    tx: outbox.Transaction, user: domain.User, client: domain.Client, session: domain.Session | None
) -> None:
    origin = Origin(
        user_id=user.user_id,
        actor_id=user.user_id,
        session_id=session.session_id if session else None,
        client=client,
    )
    await record(tx.conn, Kind.REGISTERED, origin)
    tx.publish(email_jobs.verify(user.user_id))
