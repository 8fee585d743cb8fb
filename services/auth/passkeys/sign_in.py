"""Passkeys as proofs of who somebody is: at sign-in, and before what is sensitive."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth import domain, throttling
from services.auth.accounts import storage as account_storage
from services.auth.audit import Kind, Origin, by_owner, record
from services.auth.context import Context, NewSession, lock_account
from services.auth.passkeys import storage as passkey_storage
from services.auth.passkeys.domain import PasskeyInvalid, PasskeyNotFound, Purpose
from services.auth.passkeys.operations import Ceremony, new_ceremony, relying_party, spend_ceremony
from services.auth.sessions import storage as session_storage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """What became of a proof: whose it is, or what is to be written down of its failure."""

    account: account_storage.Account | None = None
    user_id: uuid.UUID | None = None
    failure: Kind = Kind.PASSKEY_FAILED


@dataclass(frozen=True, slots=True)
class PasskeyProofs:
    """The operations. All raise `PasskeysUnavailable`, and what finishes `ChallengeInvalid` and `PasskeyInvalid`."""

    context: Context

    async def begin_login(self, client: domain.Client) -> Ceremony:
        """Begin a sign-in; who it is will be said by the passkey. Raises `TooManyAttempts`."""
        party = relying_party(self.context)
        ceremony, challenge = new_ceremony()
        async with self.context.transaction() as transaction:
            await throttling.count_each(transaction.conn, throttling.of_ceremonies(client))
            await throttling.refuse_if_blocked(transaction.conn, throttling.of_passkeys(client))
            expires_at = await passkey_storage.begin_ceremony(transaction.conn, challenge, Purpose.LOGIN, None)
        return Ceremony(ceremony=ceremony, options=party.options_to_sign(challenge), expires_at=expires_at)

    async def finish_login(
        self, *, ceremony: str, credential: str, client: domain.Client, is_remembered: bool
    ) -> NewSession:
        """Begin the session of whoever signed. No code is asked for: the authenticator has verified its user."""
        challenge = await self._spend(ceremony, Purpose.LOGIN, None, client)
        begun: NewSession | None = None
        async with self.context.transaction() as transaction:
            conn = transaction.conn
            judged = await self._judge(conn, credential, challenge, owner=None)
            if judged.account is None:
                await throttling.count_attempt(conn, throttling.of_passkeys(client))
                await record(conn, judged.failure, Origin(user_id=judged.user_id, client=client))
            else:
                begun = await self.context.begin_session(
                    transaction, judged.account.user, client, is_remembered=is_remembered
                )
                actor = domain.Actor(user_id=begun.user.user_id, session_id=begun.session.session_id)
                await record(conn, Kind.LOGIN_SUCCEEDED, by_owner(actor, client))
                await record(conn, Kind.PASSKEY_USED, by_owner(actor, client))
        if begun is None:
            logger.info("login refused", extra={"address": client.ip_address, "known": judged.user_id is not None})
            raise PasskeyInvalid()
        logger.info("user logged in", extra={"user_id": actor.user_id, "session_id": actor.session_id})
        return begun

    async def begin_reauthentication(self, actor: domain.Actor) -> Ceremony:
        """Begin a proof of who the user is. Raises `SessionInvalid` and `PasskeyNotFound`."""
        party = relying_party(self.context)
        ceremony, challenge = new_ceremony()
        async with self.context.transaction() as transaction:
            conn = transaction.conn
            await session_storage.get_present(conn, actor)
            known = await passkey_storage.list_passkeys(conn, actor.user_id)
            if not known:
                raise PasskeyNotFound()
            expires_at = await passkey_storage.begin_ceremony(conn, challenge, Purpose.REAUTHENTICATE, actor.session_id)
        return Ceremony(ceremony=ceremony, options=party.options_to_sign(challenge, known), expires_at=expires_at)

    async def finish_reauthentication(
        self, actor: domain.Actor, *, ceremony: str, credential: str, client: domain.Client
    ) -> tuple[domain.Session, str]:
        """Prove again who the user is; the session goes on under a new token. Raises `SessionInvalid`."""
        challenge = await self._spend(ceremony, Purpose.REAUTHENTICATE, actor.session_id, client)
        proved: tuple[domain.Session, str] | None = None
        async with self.context.transaction() as transaction:
            conn = transaction.conn
            await lock_account(conn, actor.user_id)
            judged = await self._judge(conn, credential, challenge, owner=actor.user_id)
            if judged.account is None:
                await throttling.count_attempt(conn, throttling.of_passkeys(client))
                await record(conn, judged.failure, by_owner(actor, client))
            else:
                proved = await self.context.replace_token(transaction, actor)
                await record(conn, Kind.REAUTHENTICATED, by_owner(actor, client))
                await record(conn, Kind.PASSKEY_USED, by_owner(actor, client))
        if proved is None:
            raise PasskeyInvalid()
        return proved

    async def _spend(
        self, ceremony: str, purpose: Purpose, session_id: uuid.UUID | None, client: domain.Client
    ) -> bytes:
        """Give the challenge of a ceremony, which is spent now, whatever comes of it."""
        async with self.context.transaction() as transaction:
            await throttling.refuse_if_blocked(transaction.conn, throttling.of_passkeys(client))
            return await spend_ceremony(transaction, ceremony, purpose, session_id)

    async def _judge(
        self, conn: AsyncConnection, credential: str, challenge: bytes, *, owner: uuid.UUID | None
    ) -> _Judged:
        """Say whose passkey signed, and note its use; for `owner` alone if there is one. The caller commits in any case."""
        party = relying_party(self.context)
        try:
            assertion = party.read_assertion(credential)
        except PasskeyInvalid:
            return _Judged(user_id=owner)
        claimed = await passkey_storage.find_passkey(conn, assertion.credential_id)
        if claimed is None or owner not in (None, claimed.user_id):
            return _Judged(user_id=owner)
        user_id = claimed.user_id
        await account_storage.lock_user(conn, user_id)
        # Anew, by statements of their own: the lock may have waited for a removal, a reset, or another use.
        account = await account_storage.get_account(conn, user_id)
        passkey = await passkey_storage.find_passkey(conn, assertion.credential_id)
        is_named = assertion.user_handle is not None or owner is not None
        if account is None or account.user.disabled_at is not None or passkey is None or not is_named:
            return _Judged(user_id=user_id)
        try:
            signed = party.verify(assertion, passkey, challenge)
        except PasskeyInvalid:
            return _Judged(user_id=user_id)
        if signed.is_behind(passkey):
            logger.warning("passkey copied", extra={"user_id": user_id, "passkey_id": passkey.passkey_id})
            return _Judged(user_id=user_id, failure=Kind.PASSKEY_COPIED)
        await passkey_storage.note_use(conn, passkey, signed)
        return _Judged(account=account, user_id=user_id)
