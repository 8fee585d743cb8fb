"""API token operations: create, list, revoke."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chassis import errors
from services.auth import current_session, domain, throttling, tokens, validation
from services.auth.api_tokens import storage
from services.auth.api_tokens.domain import (
    DEFAULT_LIFETIME_DAYS,
    MAX_LIFETIME_DAYS,
    PER_USER,
    ApiToken,
    ApiTokenNotFound,
    Scope,
    TooManyApiTokens,
)
from services.auth.audit import Kind, Origin, by_owner, record
from services.auth.context import Context, lock_account_with_fresh_session, publish_revocation
from services.auth.email import jobs as email_jobs

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ApiTokens:
    """The operations. All raise `SessionInvalid`; changes also `ReauthenticationRequired`."""

    context: Context

    async def create(
        self, actor: domain.Actor, *, name: str, scopes: Collection[Scope], lifetime_days: int, client: domain.Client
    ) -> tuple[ApiToken, str]:
        """Create a token and email its owner; return the description and the secret, which is not stored.

        Raises `InvalidArgument`, `TooManyApiTokens` and `TooManyAttempts`.
        """
        fields = errors.Validation()
        with fields.field():
            name = _check_name(name)
        with fields.field():
            ordered = _check_scopes(scopes)
        with fields.field():
            lifetime = _check_lifetime(lifetime_days)
        fields.end()
        token = tokens.new_api_token()
        async with self.context.transaction() as tx:
            conn, user_id = tx.conn, actor.user_id
            await lock_account_with_fresh_session(conn, actor)
            if await storage.count_active(conn, user_id) >= PER_USER:
                raise TooManyApiTokens()
            await throttling.count_each(conn, throttling.of_changes("api-tokens", user_id))
            await storage.delete_surplus(conn, user_id)
            api_token = await storage.insert_token(
                conn,
                user_id,
                token_hash=tokens.api_token_hash(token) or b"",
                name=name,
                scopes=ordered,
                lifetime=lifetime,
            )
            granted = " ".join(ordered)
            details = {"token_id": str(api_token.token_id), "name": name, "scopes": granted}
            await record(conn, Kind.API_TOKEN_CREATED, by_owner(actor, client), **details)
            tx.publish(email_jobs.new_api_token(user_id, api_token.token_id))
        logger.info("API token created", extra={"token_id": api_token.token_id, "user_id": user_id, "scopes": granted})
        return api_token, token

    async def list_tokens(self, actor: domain.Actor) -> tuple[Sequence[ApiToken], datetime]:
        """List the tokens of the caller, newest first; return with them the time until which the session is fresh."""
        async with self.context.autocommit().connect() as conn:
            current = await current_session.get(conn, actor)
            return await storage.list_tokens(conn, actor.user_id), current.fresh_until

    async def revoke(self, actor: domain.Actor, token_id: uuid.UUID) -> None:
        """End a token of the caller; one that has ended stays unchanged. Raises `ApiTokenNotFound`."""
        async with self.context.transaction() as tx:
            await current_session.require_fresh(tx.conn, actor)
            revocation = await storage.revoke_token(tx.conn, actor.user_id, token_id)
            if revocation is not None:
                publish_revocation(tx, revocation)
                await record(tx.conn, Kind.API_TOKEN_REVOKED, by_owner(actor), token_id=str(token_id))
            elif await storage.find_token(tx.conn, actor.user_id, token_id) is None:
                raise ApiTokenNotFound()

    async def revoke_leaked(self, token: str) -> uuid.UUID | None:
        """Revoke a leaked token; return its id, or None if there is no such token."""
        if (token_hash := tokens.api_token_hash(token)) is None:
            return None
        async with self.context.transaction() as tx:
            api_token = await storage.find_by_hash(tx.conn, token_hash)
            if api_token is None:
                return None
            revocation = await storage.revoke_token(tx.conn, api_token.user_id, api_token.token_id)
            if revocation is not None:
                publish_revocation(tx, revocation)
                origin = Origin(user_id=api_token.user_id, client=domain.NOWHERE)
                await record(tx.conn, Kind.API_TOKEN_REVOKED, origin, token_id=str(api_token.token_id), reason="leaked")
        return api_token.token_id


def _check_name(name: str) -> str:
    """Return a token's name without surrounding space. Raises `InvalidArgument`."""
    if not (cleaned := validation.clean_name(name)):
        raise errors.InvalidArgument("Enter a name, such as the program that will use the token.", field="name")
    return cleaned


def _check_scopes(scopes: Collection[Scope]) -> tuple[Scope, ...]:
    """Return the scopes in order; write includes read. Raises `InvalidArgument` if there is none."""
    if not scopes:
        raise errors.InvalidArgument("Choose at least one scope.", field="scopes")
    return (Scope.READ, Scope.WRITE) if Scope.WRITE in scopes else (Scope.READ,)


def _check_lifetime(days: int) -> timedelta:
    """Return a lifetime; 0 days mean the default. Raises `InvalidArgument`."""
    if not 0 <= days <= MAX_LIFETIME_DAYS:
        message = f"Choose a lifetime of 1 to {MAX_LIFETIME_DAYS} days."
        raise errors.InvalidArgument(message, field="lifetime_days")
    return timedelta(days=days or DEFAULT_LIFETIME_DAYS)
