"""A user's passkeys: listed, added, renamed, removed. Ceremonies of all purposes begin and end here."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import errors
from services.auth import current_session, domain, throttling, tokens, validation
from services.auth.audit import Kind, by_owner, record
from services.auth.context import Context, lock_account_with_fresh_session
from services.auth.email import jobs as email_jobs
from services.auth.email.templates import AccountChange
from services.auth.passkeys import storage as passkey_storage
from services.auth.passkeys.domain import (
    PASSKEYS_PER_USER,
    Passkey,
    PasskeyNotFound,
    PasskeysTooMany,
    PasskeysUnavailable,
    PasskeyTaken,
    Purpose,
)
from services.auth.passkeys.relying_party import RelyingParty

logger = logging.getLogger(__name__)

UNNAMED = "Passkey"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceremony:
    """The options for an authenticator, and the secret of the browser that asked for them."""

    ceremony: str
    options: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Passkeys:
    """The operations. All but `list_passkeys` raise `SessionInvalid`; adding and removing `ReauthenticationRequired`."""

    context: Context

    async def list_passkeys(self, user_id: uuid.UUID) -> Sequence[Passkey]:
        """List a user's passkeys, oldest first."""
        async with self.context.autocommit().connect() as conn:
            return await passkey_storage.list_passkeys(conn, user_id)

    async def begin_adding(self, actor: domain.Actor) -> Ceremony:
        """Begin to add a passkey. Raises `PasskeysUnavailable` and `PasskeysTooMany`."""
        party = relying_party(self.context)
        async with self.context.transaction() as tx:
            account = await lock_account_with_fresh_session(tx.conn, actor)
            passkeys = await _list_below_limit(tx.conn, actor.user_id)
            ceremony, challenge = new_ceremony()
            expires_at = await passkey_storage.begin_ceremony(tx.conn, challenge, Purpose.ADD, actor.session_id)
        options = party.creation_options(account.user, challenge, passkeys)
        return Ceremony(ceremony=ceremony, options=options, expires_at=expires_at)

    async def finish_adding(self, actor: domain.Actor, *, ceremony: str, credential: str, name: str) -> Passkey:
        """Store the credential of an authenticator, and notify the owner by email.

        Raises `ChallengeInvalid`, `PasskeyUnusable`, `PasskeyTaken`, `PasskeysTooMany`, `TooManyAttempts` and
        `InvalidArgument`.
        """
        party = relying_party(self.context)
        name = validation.clean_name(name)
        async with self.context.transaction() as tx:
            current = await current_session.get(tx.conn, actor)
            # In a transaction of its own: the ceremony is spent even if the credential is refused.
            challenge = await spend_ceremony(tx.conn, ceremony, Purpose.ADD, actor.session_id)
        verified = party.verify_registration(credential, challenge)
        async with self.context.transaction() as tx:
            await lock_account_with_fresh_session(tx.conn, actor)
            await _list_below_limit(tx.conn, actor.user_id)
            display_name = name or current.session.client_name or UNNAMED
            passkey = await passkey_storage.insert_passkey(tx.conn, actor.user_id, verified, display_name)
            if passkey is None:
                raise PasskeyTaken()
            await throttling.count_each(tx.conn, throttling.of_changes("passkeys", actor.user_id))
            tx.publish(email_jobs.account_change(actor.user_id, AccountChange.PASSKEY_ADDED))
            details = {"name": display_name, "aaguid": str(verified.aaguid)}
            await record(tx.conn, Kind.PASSKEY_ADDED, by_owner(actor), **details)
        logger.info("passkey added", extra={"user_id": actor.user_id, "passkey_id": passkey.passkey_id})
        return passkey

    async def rename(self, actor: domain.Actor, passkey_id: uuid.UUID, name: str) -> Passkey:
        """Rename a passkey; this needs no fresh session. Raises `PasskeyNotFound` and `InvalidArgument`."""
        if not (name := validation.clean_name(name)):
            raise errors.InvalidArgument("Enter a name for the passkey.", field="name")
        async with self.context.transaction() as tx:
            await current_session.get(tx.conn, actor)
            renamed = await passkey_storage.rename_passkey(tx.conn, actor.user_id, passkey_id, name)
        if renamed is None:
            raise PasskeyNotFound()
        return renamed

    async def remove(self, actor: domain.Actor, passkey_id: uuid.UUID) -> None:
        """Remove a passkey, and notify the owner by email. Raises `PasskeyNotFound`."""
        async with self.context.transaction() as tx:
            await lock_account_with_fresh_session(tx.conn, actor)
            name = await passkey_storage.delete_passkey(tx.conn, actor.user_id, passkey_id)
            if name is None:
                raise PasskeyNotFound()
            tx.publish(email_jobs.account_change(actor.user_id, AccountChange.PASSKEY_REMOVED))
            await record(tx.conn, Kind.PASSKEY_REMOVED, by_owner(actor), name=name)
        logger.info("passkey removed", extra={"user_id": actor.user_id, "passkey_id": passkey_id})


def relying_party(context: Context) -> RelyingParty:
    """Return the relying party. Raises `PasskeysUnavailable`."""
    if context.relying_party is None:
        raise PasskeysUnavailable()
    return context.relying_party


def new_ceremony() -> tuple[str, bytes]:
    """Return a new ceremony's secret and its hash, the challenge to sign: stored challenges reveal no secret."""
    ceremony = tokens.new_ceremony()
    return ceremony, tokens.ceremony_hash(ceremony) or b""


async def spend_ceremony(conn: AsyncConnection, ceremony: str, purpose: Purpose, session_id: uuid.UUID | None) -> bytes:
    """Spend a ceremony and return its challenge. Raises `ChallengeInvalid`."""
    challenge = tokens.ceremony_hash(ceremony)
    if challenge is None or not await passkey_storage.spend_ceremony(conn, challenge, purpose, session_id):
        raise domain.ChallengeInvalid()
    return challenge


async def _list_below_limit(conn: AsyncConnection, user_id: uuid.UUID) -> Sequence[Passkey]:
    passkeys = await passkey_storage.list_passkeys(conn, user_id)
    if len(passkeys) >= PASSKEYS_PER_USER:
        raise PasskeysTooMany()
    return passkeys
