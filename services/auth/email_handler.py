"""Handler of the job `auth.email`: finds the recipient, creates the one-time link, sends the email."""

from __future__ import annotations

import dataclasses
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import time_zones
from services.auth import domain, tokens
from services.auth import storage as account_storage
from services.auth.accounts import email_change_storage
from services.auth.api_tokens import storage as token_storage
from services.auth.context import lock_account
from services.auth.email import jobs as email_jobs
from services.auth.email import links, templates
from services.auth.email.jobs import Payload, Purpose
from services.auth.email.message import Email, EmailRefused, Sender
from services.auth.sessions import storage as session_storage

logger = logging.getLogger(__name__)


def kind(handler: EmailJobHandler) -> worker.Kind[Any]:
    """Return the job kind. Its retries outlast a mail server that is down for six hours."""
    return worker.Kind(
        email_jobs.KIND,
        handler.send,
        payload=Payload,
        max_attempts=60,
        backoff=timedelta(seconds=5),
        max_backoff=timedelta(minutes=20),
        attempt_timeout=timedelta(minutes=2),
        retention=timedelta(days=1),
        sensitive=("email",),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailJobHandler:
    """Sends the emails of jobs."""

    engine: AsyncEngine
    sender: Sender
    public_url: str
    renderers: Mapping[str, Callable[[domain.User, str], Awaitable[Email | None]]]
    """By purpose, the emails about events of jobs: called with the user and what the email is about; None sends none."""

    async def send(self, context: worker.Context, payload: Payload) -> dict[str, str]:
        """Send one email; return the outcome.

        Each attempt creates a new link and voids the previous attempt's, whose delivery is unknown. An email with such a link
        may therefore arrive twice; only the later link works. All others have one Message-ID in all attempts.
        """
        account = await self._account(payload)
        if account is None or account.user.disabled_at is not None or account.user.role is domain.Role.GUEST:
            return {"outcome": "no_account"}
        email = await self._render(payload, account)
        if email is None:
            return {"outcome": "already_verified" if payload.purpose == Purpose.VERIFY else "obsolete"}
        if payload.purpose not in email_jobs.WITH_LINKS:
            email = dataclasses.replace(email, message_id=context.job_id)
        try:
            await self.sender.send(email)
        except EmailRefused as error:
            logger.warning("email refused", extra={"job_id": context.job_id, "cause": str(error)[:200]})
            raise worker.JobFailed(
                "email_refused", "The mail server rejected this address.", retryable=False
            ) from error
        except Exception as error:  # noqa: BLE001 - any failure may be temporary
            # The class only: messages of library errors may contain the email.
            logger.warning("email delayed", extra={"job_id": context.job_id, "cause": type(error).__name__})
            raise worker.JobFailed("email_unavailable", "The mail server isn't responding.", retryable=True) from None
        return {"outcome": "sent"}

    async def _account(self, payload: Payload) -> account_storage.Account | None:
        async with self.engine.connect() as conn:
            if payload.user_id:
                return await account_storage.get_account(conn, uuid.UUID(payload.user_id))
            return await account_storage.find_account(conn, payload.email)

    async def _session(self, user_id: uuid.UUID, session_id: str) -> domain.Session | None:
        async with self.engine.connect() as conn:
            return await session_storage.find_session(conn, user_id, uuid.UUID(session_id))

    async def _render(self, payload: Payload, account: account_storage.Account) -> Email | None:
        """Return the email; None if its reason is gone."""
        to, user_id, public_url = account.user.email, account.user.user_id, self.public_url
        zone = time_zones.find(account.user.time_zone) or UTC
        match payload.purpose:
            case Purpose.VERIFY | Purpose.RESET | Purpose.DELETION:
                return await self._with_link(payload, user_id)
            case Purpose.ALREADY_REGISTERED:
                return templates.already_registered(to, public_url=public_url)
            case Purpose.NEW_DEVICE:
                session = await self._session(user_id, payload.session_id)
                if session is None:
                    return None
                return templates.new_device(to, session, zone=zone, public_url=public_url)
            case Purpose.NEW_API_TOKEN:
                async with self.engine.connect() as conn:
                    api_token = await token_storage.find_token(conn, user_id, uuid.UUID(payload.token_id))
                if api_token is None:
                    return None
                return templates.new_api_token(
                    to,
                    name=api_token.name,
                    scopes=api_token.scopes,
                    expires_at=api_token.expires_at,
                    zone=zone,
                    public_url=public_url,
                )
            case Purpose.CONFIRM_EMAIL_CHANGE:
                return await self._confirm_email_change(user_id, uuid.UUID(payload.change_id))
            case Purpose.NOTICE_OF_EMAIL_CHANGE:
                return await self._notice_of_email_change(user_id, uuid.UUID(payload.change_id))
            case Purpose.NOTICE if payload.notice is not None:
                return templates.account_change(to, payload.notice, public_url=public_url)
            case purpose if render := self.renderers.get(purpose):
                # The owner of an address that is not verified has not asked for anything.
                return await render(account.user, payload.about) if account.user.email_verified_at else None
        raise worker.JobFailed(
            "payload_invalid", "The purpose is unknown, or a notice names no change.", retryable=False
        )

    async def _confirm_email_change(self, user_id: uuid.UUID, change_id: uuid.UUID) -> Email | None:
        token = tokens.new_link()
        async with self.engine.begin() as conn:
            await account_storage.lock_user(conn, user_id)
            change = await email_change_storage.set_confirm_link(conn, change_id, links.link_hash(token))
            if change is None:
                return None
            has_account = await account_storage.find_account(conn, change.new_email) is not None
        if has_account:
            return templates.address_has_account(change.new_email, public_url=self.public_url)
        return templates.confirm_email_change(change.new_email, public_url=self.public_url, token=token)

    async def _notice_of_email_change(self, user_id: uuid.UUID, change_id: uuid.UUID) -> Email | None:
        token = tokens.new_link()
        async with self.engine.begin() as conn:
            await account_storage.lock_user(conn, user_id)
            change = await email_change_storage.set_revoke_link(conn, change_id, links.link_hash(token))
        if change is None:
            return None
        new = change.new_email if change.was_verified else ""
        return templates.notice_of_email_change(change.old_email, new, public_url=self.public_url, token=token)

    async def _with_link(self, payload: Payload, user_id: uuid.UUID) -> Email | None:
        """Return an email with a new link.

        The account is read again under the lock: a change that voids links may have taken the address from it meanwhile.
        """
        purpose, token = Purpose(payload.purpose), tokens.new_link()
        async with self.engine.begin() as conn:
            try:
                user = (await lock_account(conn, user_id)).user
            except domain.SessionInvalid:
                return None
            if payload.email and payload.email != user.email:
                return None
            email = self._linked_email(purpose, user, token)
            if email is not None:
                await links.replace_link(conn, user_id, purpose, token_hash=links.link_hash(token))
        return email

    def _linked_email(self, purpose: Purpose, user: domain.User, token: str) -> Email | None:
        if purpose is Purpose.RESET:
            return templates.reset(user.email, public_url=self.public_url, token=token)
        if purpose is Purpose.VERIFY:
            if user.email_verified_at is not None:
                return None
            return templates.verify(user.email, public_url=self.public_url, token=token)
        if (due_at := user.deletion_due_at) is None:
            return None
        zone = time_zones.find(user.time_zone) or UTC
        return templates.deletion(user.email, public_url=self.public_url, token=token, due_at=due_at, zone=zone)
