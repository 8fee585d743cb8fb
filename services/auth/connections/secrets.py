"""The secrets of connections, encrypted: pending authorizations, codes that are not exchanged yet, tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.connections import pending_revocations
from services.auth.connections.domain import AUTHORIZATION_LIFETIME, Connection, Tokens
from services.auth.connections.schema import authorizations
from services.auth.connections.schema import pending_revocations as pending_revocations_table
from services.auth.connections.schema import secrets as table
from services.auth.encryption.keyring import Keyring

_now = sa.func.now()

SEALED_COLUMNS = (
    "sealed_code",
    "sealed_verifier",
    "sealed_nonce",
    "sealed_access_token",
    "sealed_refresh_token",
)
"""The encrypted columns of `connection_secrets`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """An authorization whose user has come back."""

    generation: int
    sealed_verifier: bytes = field(repr=False)
    sealed_nonce: bytes = field(repr=False)
    issuer: str
    is_issuer_required: bool
    return_to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeGrant:
    """An authorization code, and the values that must be sent with it to get tokens."""

    code: str = field(repr=False)
    verifier: str = field(repr=False)
    nonce: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The secrets of a connection: an authorization code, or tokens."""

    generation: int
    revision: int
    """Grows each time tokens are replaced."""
    grant: CodeGrant | None
    code_sent_at: datetime | None
    """The time at which the code was sent to the platform, if the answer is not known."""
    tokens: Tokens | None
    issued_at: datetime | None


def associated_data(column: str, user_id: UUID, platform: str) -> str:
    """Return the associated data that binds a ciphertext to its column, user and platform."""
    return f"connection|{user_id}|{platform}|{column}"


class Vault:
    """Encrypts the secrets that it stores, and decrypts those that it reads."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def store_authorization(
        self,
        conn: AsyncConnection,
        connection: Connection,
        *,
        state: str,
        verifier: str,
        nonce: str,
        session_id: UUID,
        issuer: str,
        is_issuer_required: bool,
        return_to: str,
    ) -> datetime:
        """Store the values that a callback must match, in place of earlier ones; return when they expire."""
        row = {
            "state_hash": _hash(state),
            "user_id": connection.user_id,
            "platform": connection.platform,
            "session_id": session_id,
            "generation": connection.generation,
            "sealed_verifier": self._encrypt(verifier, "sealed_verifier", connection),
            "sealed_nonce": self._encrypt(nonce, "sealed_nonce", connection),
            "issuer": issuer,
            "is_issuer_required": is_issuer_required,
            "return_to": return_to,
            "expires_at": _now + AUTHORIZATION_LIFETIME,
        }
        key = [authorizations.c.user_id, authorizations.c.platform]
        insert = postgresql.insert(authorizations).values(row)
        statement = insert.on_conflict_do_update(index_elements=key, set_=row).returning(authorizations.c.expires_at)
        expires_at: datetime = (await conn.execute(statement)).scalar_one()
        return expires_at

    async def store_code(
        self, conn: AsyncConnection, connection: Connection, authorization: Authorization, code: str
    ) -> None:
        row = {
            "user_id": connection.user_id,
            "platform": connection.platform,
            "generation": connection.generation,
            "sealed_code": self._encrypt(code, "sealed_code", connection),
            "sealed_verifier": authorization.sealed_verifier,
            "sealed_nonce": authorization.sealed_nonce,
        }
        await delete(conn, connection.user_id, connection.platform)
        await conn.execute(sa.insert(table).values(row))

    async def store_tokens(
        self,
        conn: AsyncConnection,
        connection: Connection,
        tokens: Tokens,
        *,
        of_generation: int,
        of_revision: int,
    ) -> datetime | None:
        """Store tokens in place of the code or the tokens that they were obtained with; return when they were issued.

        The time is the database's. Return None if other secrets are stored by now. Storing the same tokens again changes nothing:
        the reply of the first commit may have been lost.
        """
        row = {
            "revision": table.c.revision + 1,
            "sealed_code": None,
            "sealed_verifier": None,
            "sealed_nonce": None,
            "code_sent_at": None,
            **self._encrypt_tokens(tokens, connection),
            "issued_at": _now,
            "expires_at": _now + tokens.lifetime if tokens.lifetime is not None else None,
        }
        guard = (table.c.generation == of_generation, table.c.revision == of_revision)
        statement = sa.update(table).where(*_is_connection(connection.user_id, connection.platform), *guard).values(row)
        issued_at: datetime | None = (await conn.execute(statement.returning(table.c.issued_at))).scalar_one_or_none()
        return issued_at or await self._issued_already(conn, connection, tokens, of_generation, of_revision + 1)

    async def _issued_already(
        self, conn: AsyncConnection, connection: Connection, tokens: Tokens, generation: int, revision: int
    ) -> datetime | None:
        """Return the issue time of these tokens if they are stored under this revision."""
        stored = await self.get(conn, connection)
        if stored is None or stored.tokens is None or (stored.generation, stored.revision) != (generation, revision):
            return None
        are_same = (stored.tokens.access_token, stored.tokens.refresh_token) == (
            tokens.access_token,
            tokens.refresh_token,
        )
        return stored.issued_at if are_same else None

    async def get(self, conn: AsyncConnection, connection: Connection) -> Stored | None:
        """Read and decrypt the secrets; None if there are none. Raises `DecryptionFailed`."""
        statement = sa.select(table).where(*_is_connection(connection.user_id, connection.platform))
        if (row := (await conn.execute(statement)).mappings().first()) is None:
            return None

        def decrypt(column: str) -> str:
            return self._keyring.decrypt(
                row[column], associated_data=associated_data(column, connection.user_id, connection.platform)
            )

        grant = tokens = None
        if row["sealed_code"] is not None:
            grant = CodeGrant(
                code=decrypt("sealed_code"), verifier=decrypt("sealed_verifier"), nonce=decrypt("sealed_nonce")
            )
        if row["sealed_access_token"] is not None:
            tokens = Tokens(
                access_token=decrypt("sealed_access_token"),
                refresh_token=decrypt("sealed_refresh_token") if row["sealed_refresh_token"] is not None else "",
                lifetime=row["expires_at"] - row["issued_at"] if row["expires_at"] else None,
                subject=row["subject"],
            )
        return Stored(
            generation=row["generation"],
            revision=row["revision"],
            grant=grant,
            code_sent_at=row["code_sent_at"],
            tokens=tokens,
            issued_at=row["issued_at"],
        )

    async def set_aside(self, conn: AsyncConnection, connection: Connection, tokens: Tokens) -> bool:
        """Store tokens that must be revoked; return False if those of this generation are stored already."""
        row = {
            "user_id": connection.user_id,
            "platform": connection.platform,
            "generation": connection.generation,
            **self._encrypt_tokens(tokens, connection),
        }
        insert = postgresql.insert(pending_revocations_table).values(row).on_conflict_do_nothing()
        return (await conn.execute(insert.returning(pending_revocations_table.c.generation))).first() is not None

    async def get_pending_revocation(
        self, conn: AsyncConnection, user_id: UUID, platform: str, generation: int
    ) -> Tokens | None:
        """Read and decrypt the tokens of a generation that must be revoked; None if there are none. Raises `DecryptionFailed`."""
        statement = sa.select(pending_revocations_table).where(
            *pending_revocations.of_generation(user_id, platform, generation)
        )
        if (row := (await conn.execute(statement)).mappings().first()) is None:
            return None

        def decrypt(column: str) -> str:
            return self._keyring.decrypt(row[column], associated_data=associated_data(column, user_id, platform))

        return Tokens(
            access_token=decrypt("sealed_access_token"),
            refresh_token=decrypt("sealed_refresh_token") if row["sealed_refresh_token"] is not None else "",
            subject=row["subject"],
        )

    def _encrypt_tokens(self, tokens: Tokens, connection: Connection) -> dict[str, bytes | str | None]:
        """Return the columns that store tokens."""
        refresh_token = None
        if tokens.refresh_token:
            refresh_token = self._encrypt(tokens.refresh_token, "sealed_refresh_token", connection)
        return {
            "sealed_access_token": self._encrypt(tokens.access_token, "sealed_access_token", connection),
            "sealed_refresh_token": refresh_token,
            "subject": tokens.subject,
        }

    def _encrypt(self, secret: str, column: str, connection: Connection) -> bytes:
        return self._keyring.encrypt(
            secret, associated_data=associated_data(column, connection.user_id, connection.platform)
        )


async def take_authorization(
    conn: AsyncConnection, *, state: str, user_id: UUID, session_id: UUID, platform: str
) -> Authorization | None:
    """Take the authorization that a callback matches, once; None if it matches none, or that has expired."""
    statement = (
        sa.delete(authorizations)
        .where(
            authorizations.c.state_hash == _hash(state),
            authorizations.c.user_id == user_id,
            authorizations.c.session_id == session_id,
            authorizations.c.platform == platform,
            authorizations.c.expires_at > _now,
        )
        .returning(authorizations)
    )
    row = (await conn.execute(statement)).mappings().first()
    return _authorization(row) if row else None


async def mark_code_sent(conn: AsyncConnection, connection: Connection, *, is_sent: bool) -> None:
    """Record that the code is being sent to the platform, or that the platform certainly did not use it."""
    statement = sa.update(table).where(*_is_connection(connection.user_id, connection.platform))
    await conn.execute(statement.values(code_sent_at=_now if is_sent else None))


async def issued_at(conn: AsyncConnection, connection: Connection) -> datetime:
    """Return when the tokens of a connection were issued. It must have tokens."""
    statement = sa.select(table.c.issued_at).where(*_is_connection(connection.user_id, connection.platform))
    time: datetime = (await conn.execute(statement)).scalar_one()
    return time


async def delete(conn: AsyncConnection, user_id: UUID, platform: str) -> None:
    await conn.execute(sa.delete(table).where(*_is_connection(user_id, platform)))
    of_connection = (authorizations.c.user_id == user_id, authorizations.c.platform == platform)
    await conn.execute(sa.delete(authorizations).where(*of_connection))


async def delete_expired(conn: AsyncConnection) -> int:
    """Delete authorizations that have expired; return how many."""
    return (await conn.execute(sa.delete(authorizations).where(authorizations.c.expires_at <= _now))).rowcount


def _is_connection(user_id: UUID, platform: str) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.user_id == user_id, table.c.platform == platform


def _authorization(row: Mapping[Any, Any]) -> Authorization:
    return Authorization(
        generation=row["generation"],
        sealed_verifier=row["sealed_verifier"],
        sealed_nonce=row["sealed_nonce"],
        issuer=row["issuer"],
        is_issuer_required=row["is_issuer_required"],
        return_to=row["return_to"],
    )


def _hash(state: str) -> bytes:
    return hashlib.sha256(state.encode()).digest()
