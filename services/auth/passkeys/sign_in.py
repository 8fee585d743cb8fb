"""Sign-in and reauthentication with a passkey."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth import current_session, domain, throttling
from services.auth import storage as account_storage
from services.auth.audit import Kind, by_owner, record, record_attempt
from services.auth.context import Context, NewSession, begin_session, lock_account, replace_token
from services.auth.passkeys import storage as passkey_storage
from services.auth.passkeys.domain import PasskeyInvalid, PasskeyNotFound, Purpose
from services.auth.passkeys.operations import Ceremony, new_ceremony, relying_party, spend_ceremony

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """The account whose passkey signed, or what to record of the failure."""

    account: account_storage.Account | None = None
    user_id: uuid.UUID | None = None
    failure: Kind = Kind.PASSKEY_FAILED


@dataclass(frozen=True, slots=True)
class PasskeySignIn:
    """The operations. All raise `PasskeysUnavailable`; those that finish also `ChallengeInvalid` and `PasskeyInvalid`."""

    context: Context

    async def begin_login(self, client: domain.Client) -> Ceremony:
        """Begin a sign-in; the passkey names the user. Raises `TooManyAttempts`."""
        party = relying_party(self.context)
        ceremony, challenge = new_ceremony()
        async with self.context.transaction() as tx:
            await throttling.count_each(tx.conn, throttling.of_ceremonies(client))
            await throttling.refuse_if_blocked(tx.conn, throttling.of_passkeys(client))
            expires_at = await passkey_storage.begin_ceremony(tx.conn, challenge, Purpose.LOGIN, None)
        return Ceremony(ceremony=ceremony, options=party.request_options(challenge), expires_at=expires_at)

    async def finish_login(
        self, *, ceremony: str, credential: str, client: domain.Client, is_remembered: bool
    ) -> NewSession:
        """Begin the session of the user whose passkey signed. No code is needed: the authenticator verified its user."""
        challenge = await self._use_ceremony(ceremony, Purpose.LOGIN, None, client)
        new: NewSession | None = None
        async with self.context.transaction() as tx:
            verdict = await self._verify(tx.conn, credential, challenge, owner=None)
            if verdict.account is None:
                await throttling.count_attempt(tx.conn, throttling.of_passkeys(client))
                await record_attempt(tx.conn, verdict.failure, verdict.user_id, client)
            else:
                new = await begin_session(tx, verdict.account.user, client, is_remembered=is_remembered)
                actor = domain.Actor(user_id=new.user.user_id, session_id=new.session.session_id)
                await record(tx.conn, Kind.LOGIN_SUCCEEDED, by_owner(actor, client))
                await record(tx.conn, Kind.PASSKEY_USED, by_owner(actor, client))
        if new is None:
            has_account = verdict.user_id is not None
            logger.info("sign-in refused", extra={"address": client.ip_address, "has_account": has_account})
            raise PasskeyInvalid()
        logger.info("user signed in", extra={"user_id": actor.user_id, "session_id": actor.session_id})
        return new

    async def begin_reauthentication(self, actor: domain.Actor) -> Ceremony:
        """Begin a reauthentication. Raises `SessionInvalid` and `PasskeyNotFound`."""
        party = relying_party(self.context)
        ceremony, challenge = new_ceremony()
        async with self.context.transaction() as tx:
            await current_session.get(tx.conn, actor)
            passkeys = await passkey_storage.list_passkeys(tx.conn, actor.user_id)
            if not passkeys:
                raise PasskeyNotFound()
            expires_at = await passkey_storage.begin_ceremony(
                tx.conn, challenge, Purpose.REAUTHENTICATE, actor.session_id
            )
        return Ceremony(ceremony=ceremony, options=party.request_options(challenge, passkeys), expires_at=expires_at)

    async def finish_reauthentication(
        self, actor: domain.Actor, *, ceremony: str, credential: str, client: domain.Client
    ) -> tuple[domain.Session, str]:
        """Reauthenticate; the session continues under a new token. Raises `SessionInvalid`."""
        challenge = await self._use_ceremony(ceremony, Purpose.REAUTHENTICATE, actor.session_id, client)
        new_session: tuple[domain.Session, str] | None = None
        async with self.context.transaction() as tx:
            await lock_account(tx.conn, actor.user_id)
            verdict = await self._verify(tx.conn, credential, challenge, owner=actor.user_id)
            if verdict.account is None:
                await throttling.count_attempt(tx.conn, throttling.of_passkeys(client))
                await record(tx.conn, verdict.failure, by_owner(actor, client))
            else:
                new_session = await replace_token(tx, actor)
                await record(tx.conn, Kind.REAUTHENTICATED, by_owner(actor, client))
                await record(tx.conn, Kind.PASSKEY_USED, by_owner(actor, client))
        if new_session is None:
            raise PasskeyInvalid()
        return new_session

    async def _use_ceremony(
        self, ceremony: str, purpose: Purpose, session_id: uuid.UUID | None, client: domain.Client
    ) -> bytes:
        """Spend a ceremony in a transaction of its own, so that it counts once even if the signature is refused."""
        async with self.context.transaction() as tx:
            await throttling.refuse_if_blocked(tx.conn, throttling.of_passkeys(client))
            return await spend_ceremony(tx.conn, ceremony, purpose, session_id)

    async def _verify(
        self, conn: AsyncConnection, credential: str, challenge: bytes, *, owner: uuid.UUID | None
    ) -> _Verdict:
        """Verify a signature and record the use of its passkey; only for `owner` if set. The caller commits in any case."""
        party = relying_party(self.context)
        try:
            assertion = party.read_assertion(credential)
        except PasskeyInvalid:
            return _Verdict(user_id=owner)
        claimed = await passkey_storage.find_passkey(conn, assertion.credential_id)
        if claimed is None or owner not in (None, claimed.user_id):
            return _Verdict(user_id=owner)
        user_id = claimed.user_id
        await account_storage.lock_user(conn, user_id)
        # Read again by statements of their own: the lock may have waited for a removal, a reset, or another use.
        account = await account_storage.get_account(conn, user_id)
        passkey = await passkey_storage.find_passkey(conn, assertion.credential_id)
        names_user = assertion.user_handle is not None or owner is not None
        if account is None or account.user.disabled_at is not None or passkey is None or not names_user:
            return _Verdict(user_id=user_id)
        try:
            verified = party.verify_assertion(assertion, passkey, challenge)
        except PasskeyInvalid:
            return _Verdict(user_id=user_id)
        if verified.has_counter_regressed(passkey):
            logger.warning("passkey counter regressed", extra={"user_id": user_id, "passkey_id": passkey.passkey_id})
            return _Verdict(user_id=user_id, failure=Kind.PASSKEY_COUNTER_REGRESSED)
        await passkey_storage.record_use(conn, passkey, verified)
        return _Verdict(account=account, user_id=user_id)
