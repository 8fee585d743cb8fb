"""Registering, signing in, and answering whose session a token is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from chassis import identity
from services.auth import domain, throttling, tokens
from services.auth.accounts import storage as account_storage
from services.auth.accounts import validation
from services.auth.accounts.passwords import TooBusy
from services.auth.audit import Kind, Origin, by_owner, record
from services.auth.context import Context, NewSession, Transaction
from services.auth.email import jobs as email_jobs
from services.auth.second_factor import storage as factor_storage
from services.auth.sessions import storage as session_storage
from services.auth.sign_in import credentials

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeRequired:
    """A sign-in that lacks the second factor."""

    challenge: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """A living session, with the signed identity of its user and when that ends."""

    user: domain.User
    session: domain.Session
    identity: str
    identity_expires_at: datetime
    is_renewed: bool


@dataclass(frozen=True, slots=True)
class Operations:
    """The operations. What they raise beside what they say: `InvalidArgument`, `TooManyAttempts` and `TooBusy`."""

    context: Context

    async def register(
        self, *, email: str, password: str, name: str, client: domain.Client, is_remembered: bool = False
    ) -> NewSession | None:
        """Make an account and its first session. Raises `EmailTaken`.

        Unless registration is open it gives None and sends a mail, whether or not the address has an account.
        """
        email = validation.normalize_email(email)
        name = validation.clean_name(name)
        validation.check_password(password, email=email)
        is_open = self.context.is_registration_open
        limits = throttling.of_registrations(client, self.context.registrations_per_address)
        if not is_open:
            limits |= throttling.of_mails("register", email)
        async with self.context.transaction() as transaction:
            await throttling.count_each(transaction.conn, limits)
        password_hash = await self.context.passwords.hash(password)
        if not is_open:
            await self._register_by_mail(email, name, password_hash, client)
            return None
        async with self.context.transaction() as transaction:
            user = await account_storage.insert_user(
                transaction.conn, email=email, name=name, role=domain.Role.USER, password_hash=password_hash
            )
            begun = await self.context.begin_session(transaction, user, client, is_remembered=is_remembered)
            await _registered(transaction, user, client, begun.session)
        logger.info("user registered", extra={"user_id": user.user_id, "session_id": begun.session.session_id})
        return begun

    async def _register_by_mail(self, email: str, name: str, password_hash: str, client: domain.Client) -> None:
        async with self.context.transaction() as transaction:
            user = await account_storage.insert_user_unless_taken(
                transaction.conn, email=email, name=name, role=domain.Role.USER, password_hash=password_hash
            )
            if user is None:
                # Without the account's id, to look for which would take longer than an address without one takes.
                await record(
                    transaction.conn, Kind.REGISTRATION_REPEATED, Origin(user_id=None, client=client), email=email
                )
                transaction.mail(email_jobs.registered(email))
            else:
                await _registered(transaction, user, client, None)
        logger.info("registration accepted", extra={"address": client.ip_address})

    async def login(
        self, *, email: str, password: str, client: domain.Client, is_remembered: bool = False
    ) -> NewSession | ChallengeRequired:
        """Begin a session, or a challenge for an account with a second factor. Raises `InvalidCredentials`."""
        email = validation.normalize_email(email)
        limits = throttling.of_password(email, client)
        async with self.context.reading().connect() as conn:
            account = await account_storage.find_account(conn, email)
        password_hash = account.password_hash if account else None
        is_right = await credentials.is_password(self.context, password_hash, password, limits)
        if account is None or not is_right or account.user.disabled_at is not None:
            await self._refuse_login(email, account, limits, client)
            raise domain.InvalidCredentials()
        new_hash = await self._improved_hash(account.password_hash, password)
        async with self.context.transaction() as transaction:
            conn, user_id = transaction.conn, account.user.user_id
            await account_storage.lock_user(conn, user_id)
            # Again, since guesses made at the same time have been counted meanwhile: no burst gets more of them.
            await throttling.refuse_if_blocked(conn, limits)
            present = await account_storage.get_account(conn, user_id)
            # Not by the hash, which another login may have improved meanwhile.
            if (
                present is None
                or present.password_changed_at != account.password_changed_at
                or present.user.disabled_at
            ):
                raise domain.InvalidCredentials()
            await throttling.forget(conn, [throttling.account_key(email, client)])
            if new_hash:
                await account_storage.replace_password_hash(conn, user_id, old=account.password_hash, new=new_hash)
            if present.user.has_second_factor:
                return await _challenge(transaction, present.user, is_remembered=is_remembered)
            begun = await self.context.begin_session(transaction, present.user, client, is_remembered=is_remembered)
            await _logged_in(transaction, begun, client)
        logger.info("user logged in", extra={"user_id": user_id, "session_id": begun.session.session_id})
        return begun

    async def _refuse_login(
        self, email: str, account: account_storage.Account | None, limits: throttling.Limits, client: domain.Client
    ) -> None:
        user_id = account.user.user_id if account else None
        async with self.context.transaction() as transaction:
            await throttling.count_attempt(transaction.conn, limits)
            await record(transaction.conn, Kind.LOGIN_FAILED, Origin(user_id=user_id, client=client), email=email)
        logger.info("login refused", extra={"address": client.ip_address, "known": account is not None})

    async def finish_login(self, *, challenge: str, code: str, client: domain.Client) -> NewSession:
        """Answer a challenge. Raises `ChallengeInvalid` or `InvalidCode`."""
        if (challenge_hash := tokens.of_challenge(challenge)) is None:
            raise domain.ChallengeInvalid()
        begun: NewSession | None = None
        async with self.context.transaction() as transaction:
            conn = transaction.conn
            user_id = await factor_storage.challenged_user(conn, challenge_hash)
            if user_id is None:
                raise domain.ChallengeInvalid()
            await account_storage.lock_user(conn, user_id)
            account = await account_storage.get_account(conn, user_id)
            tried = await factor_storage.try_challenge(conn, challenge_hash)
            if tried is None or account is None or not account.user.has_second_factor or account.user.disabled_at:
                raise domain.ChallengeInvalid()
            spent = await credentials.spend_code(conn, self.context.keyring, user_id, code)
            if spent is None:
                await record(conn, Kind.SECOND_FACTOR_FAILED, Origin(user_id=user_id, client=client))
            else:
                await factor_storage.use_challenge(conn, challenge_hash)
                begun = await self.context.begin_session(
                    transaction, account.user, client, is_remembered=tried.is_remembered
                )
                await _logged_in(transaction, begun, client, spent)
        if begun is None:
            raise domain.InvalidCode()
        logger.info("user logged in", extra={"user_id": user_id, "session_id": begun.session.session_id})
        return begun

    async def validate_session(self, token: str, *, passive: bool = False) -> Validated:
        """Answer whose session a token is, renew it when due unless `passive`, vouch for the user. Raises `SessionInvalid`."""
        (validated,) = await self.validate_sessions([(token, passive)])
        if validated is None:
            raise domain.SessionInvalid()
        return validated

    async def validate_sessions(self, shown: Sequence[tuple[str, bool]]) -> list[Validated | None]:
        """Do what `validate_session` does for many (token, passive); None for those that are invalid."""
        asked = [(tokens.of_session(token), passive) for token, passive in shown]
        hashes = {token_hash for token_hash, _ in asked if token_hash is not None}
        renewed: set[UUID] = set()
        async with self.context.reading().connect() as conn:
            found = await session_storage.find_logins(conn, hashes)
            active = {found[key].session.session_id for key, passive in asked if not passive and key in found}
            due = [login.session.session_id for login in found.values() if login.is_due]
            if wanted := [session_id for session_id in due if session_id in active]:
                # One by one: who waits for two rows can deadlock with whoever ends several sessions.
                renewed = {each for each in wanted if await session_storage.renew_session(conn, each)}
                found = await session_storage.find_logins(conn, hashes)
        return [
            self._vouch(login, is_renewed=not passive and login.session.session_id in renewed)
            if token_hash is not None and (login := found.get(token_hash))
            else None
            for token_hash, passive in asked
        ]

    def _vouch(self, login: session_storage.Login, *, is_renewed: bool) -> Validated:
        user = identity.User(
            user_id=str(login.user.user_id),
            role=login.user.role,
            session_id=str(login.session.session_id),
            can_access_dashboard=login.user.can_access_dashboard(self.context.verification_period),
        )
        vouched, expires = self.context.signer.user_token(user, lifetime=login.remaining.total_seconds())
        return Validated(
            user=login.user,
            session=login.session,
            identity=vouched,
            identity_expires_at=datetime.fromtimestamp(expires, UTC),
            is_renewed=is_renewed,
        )

    async def _improved_hash(self, password_hash: str, password: str) -> str | None:
        if not self.context.passwords.is_outdated(password_hash):
            return None
        try:
            return await self.context.passwords.hash(password)
        except TooBusy:
            logger.info("an outdated password hash waits for the next login")
            return None


async def _registered(
    transaction: Transaction, user: domain.User, client: domain.Client, session: domain.Session | None
) -> None:
    origin = Origin(
        user_id=user.user_id,
        actor_id=user.user_id,
        session_id=session.session_id if session else None,
        client=client,
    )
    await record(transaction.conn, Kind.REGISTERED, origin)
    transaction.mail(email_jobs.verify(user.user_id))


async def _challenge(transaction: Transaction, user: domain.User, *, is_remembered: bool) -> ChallengeRequired:
    challenge = tokens.new_challenge()
    challenge_hash = tokens.of_challenge(challenge) or b""
    expires_at = await factor_storage.insert_challenge(
        transaction.conn, user.user_id, challenge_hash=challenge_hash, is_remembered=is_remembered
    )
    return ChallengeRequired(challenge=challenge, expires_at=expires_at)


async def _logged_in(
    transaction: Transaction, begun: NewSession, client: domain.Client, spent: credentials.Spent | None = None
) -> None:
    actor = domain.Actor(user_id=begun.user.user_id, session_id=begun.session.session_id)
    await record(transaction.conn, Kind.LOGIN_SUCCEEDED, by_owner(actor, client))
    if spent is credentials.Spent.RECOVERY:
        await record(transaction.conn, Kind.RECOVERY_CODE_USED, by_owner(actor, client))
