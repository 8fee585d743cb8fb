"""A user's own passkeys: added, named, removed. The ceremonies with which authenticators answer are begun and spent here."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chassis import errors
from services.auth import domain, tokens
from services.auth.accounts import storage as account_storage
from services.auth.accounts import validation
from services.auth.audit import Kind, by_owner, record
from services.auth.context import Context, Transaction, lock_account
from services.auth.email import jobs as email_jobs
from services.auth.email.templates import Notice
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
from services.auth.sessions import storage as session_storage

logger = logging.getLogger(__name__)

UNNAMED = "Passkey"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceremony:
    """What an authenticator is to be told, and the secret of the browser that asked for it."""

    ceremony: str
    options: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Passkeys:
    """The operations. All but `list_passkeys` and `rename` raise `SessionInvalid` and `ReauthenticationRequired`."""

    context: Context

    async def list_passkeys(self, user_id: uuid.UUID) -> Sequence[Passkey]:
        """List a user's passkeys, oldest first."""
        async with self.context.reading().connect() as conn:
            return await passkey_storage.list_passkeys(conn, user_id)

    async def begin_adding(self, actor: domain.Actor) -> Ceremony:
        """Begin to add a passkey. Raises `PasskeysUnavailable` and `PasskeysTooMany`."""
        party = relying_party(self.context)
        async with self.context.transaction() as transaction:
            account = await _begin_change(transaction, actor)
            known = await _with_room(transaction, actor.user_id)
            ceremony, challenge = new_ceremony()
            expires_at = await passkey_storage.begin_ceremony(
                transaction.conn, challenge, Purpose.ADD, actor.session_id
            )
        options = party.options_to_add(account.user, challenge, known)
        return Ceremony(ceremony=ceremony, options=options, expires_at=expires_at)

    async def finish_adding(self, actor: domain.Actor, *, ceremony: str, credential: str, name: str) -> Passkey:
        """Add what an authenticator has made; its owner is told by mail.

        Raises `ChallengeInvalid`, `PasskeyUnusable`, `PasskeyTaken`, `PasskeysTooMany` and `InvalidArgument`.
        """
        party = relying_party(self.context)
        name = validation.clean_name(name)
        async with self.context.transaction() as transaction:
            present = await session_storage.get_present(transaction.conn, actor)
            # Spent by itself, whatever comes of it.
            challenge = await spend_ceremony(transaction, ceremony, Purpose.ADD, actor.session_id)
        made = party.read_made(credential, challenge)
        async with self.context.transaction() as transaction:
            conn = transaction.conn
            await _begin_change(transaction, actor)
            await _with_room(transaction, actor.user_id)
            called = name or present.session.client_name or UNNAMED
            passkey = await passkey_storage.insert_passkey(conn, actor.user_id, made, called)
            if passkey is None:
                raise PasskeyTaken()
            transaction.mail(email_jobs.notice(actor.user_id, Notice.PASSKEY_ADDED))
            await record(conn, Kind.PASSKEY_ADDED, by_owner(actor), name=called, aaguid=str(made.aaguid))
        logger.info("passkey added", extra={"user_id": actor.user_id, "passkey_id": passkey.passkey_id})
        return passkey

    async def rename(self, actor: domain.Actor, passkey_id: uuid.UUID, name: str) -> Passkey:
        """Give a passkey another name; that takes no fresh proof. Raises `PasskeyNotFound` and `InvalidArgument`."""
        if not (name := validation.clean_name(name)):
            raise errors.InvalidArgument("The passkey needs a name.", field="name")
        async with self.context.transaction() as transaction:
            await session_storage.get_present(transaction.conn, actor)
            renamed = await passkey_storage.rename_passkey(transaction.conn, actor.user_id, passkey_id, name)
        if renamed is None:
            raise PasskeyNotFound()
        return renamed

    async def remove(self, actor: domain.Actor, passkey_id: uuid.UUID) -> None:
        """Remove a passkey; its owner is told by mail. Raises `PasskeyNotFound`."""
        async with self.context.transaction() as transaction:
            conn = transaction.conn
            await _begin_change(transaction, actor)
            name = await passkey_storage.delete_passkey(conn, actor.user_id, passkey_id)
            if name is None:
                raise PasskeyNotFound()
            transaction.mail(email_jobs.notice(actor.user_id, Notice.PASSKEY_REMOVED))
            await record(conn, Kind.PASSKEY_REMOVED, by_owner(actor), name=name)
        logger.info("passkey removed", extra={"user_id": actor.user_id, "passkey_id": passkey_id})


def relying_party(context: Context) -> RelyingParty:
    """Give who we are to authenticators. Raises `PasskeysUnavailable`."""
    if context.relying_party is None:
        raise PasskeysUnavailable()
    return context.relying_party


def new_ceremony() -> tuple[str, bytes]:
    """Make the secret of a ceremony, and the challenge to be signed: its hash, so that what is stored opens nothing."""
    ceremony = tokens.new_ceremony()
    return ceremony, tokens.of_ceremony(ceremony) or b""


async def spend_ceremony(
    transaction: Transaction, ceremony: str, purpose: Purpose, session_id: uuid.UUID | None
) -> bytes:
    """Spend a ceremony, and give its challenge. Raises `ChallengeInvalid`."""
    challenge = tokens.of_ceremony(ceremony)
    if challenge is None or not await passkey_storage.spend_ceremony(transaction.conn, challenge, purpose, session_id):
        raise domain.ChallengeInvalid()
    return challenge


async def _begin_change(transaction: Transaction, actor: domain.Actor) -> account_storage.Account:
    account = await lock_account(transaction.conn, actor.user_id)
    await session_storage.require_fresh(transaction.conn, actor)
    return account


async def _with_room(transaction: Transaction, user_id: uuid.UUID) -> Sequence[Passkey]:
    known = await passkey_storage.list_passkeys(transaction.conn, user_id)
    if len(known) >= PASSKEYS_PER_USER:
        raise PasskeysTooMany()
    return known
