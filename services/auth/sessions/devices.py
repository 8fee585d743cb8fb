"""The devices from which users have signed in, as hashes: a sign-in from another one is worth an email.

A browser is recognised by the secret of its cookie, a client without cookies by its user agent and network.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth import domain
from services.auth.schema import devices
from services.auth.storage import not_before

PER_USER = 20
"""Devices that are remembered of a user; the one unused for longest is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """What was known about a device before a sign-in."""

    is_known: bool
    is_first: bool
    """Whether no device of the user was known, as at the first sign-in after registration."""

    @property
    def is_noteworthy(self) -> bool:
        """Whether the owner gets an email."""
        return not self.is_known and not self.is_first


def device_hash(user_id: uuid.UUID, client: domain.Client) -> bytes:
    """Return the stored hash of a device. It differs from user to user, so that rows do not link accounts."""
    mark = f"cookie|{client.device}" if client.device else f"client|{client.user_agent}|{client.network}"
    return hashlib.sha256(f"{user_id}|{mark}".encode()).digest()


async def recognize(conn: AsyncConnection, user_id: uuid.UUID, hash_: bytes) -> Recognition:
    """Remember a device of a user, forgetting the oldest beyond `PER_USER`. The caller has locked the account."""
    of_user = devices.c.user_id == user_id
    recognition = (
        sa.select(
            sa.func.coalesce(sa.func.bool_or(devices.c.device_hash == hash_), sa.false()).label("is_known"),
            (sa.func.count() == 0).label("is_first"),
        )
        .where(of_user)
        .cte("known")
    )
    remembered = (
        postgresql.insert(devices)
        .values(device_hash=hash_, user_id=user_id)
        .on_conflict_do_update(
            index_elements=["device_hash"], set_={"last_seen_at": not_before(devices.c.last_seen_at)}
        )
        .cte("remembered")
    )
    surplus = (
        sa.select(devices.c.device_hash)
        .where(of_user, devices.c.device_hash != hash_)
        .order_by(devices.c.last_seen_at.desc(), devices.c.device_hash)
        .offset(PER_USER - 1)
    )
    forgotten = sa.delete(devices).where(devices.c.device_hash.in_(surplus)).cte("forgotten")
    row = (await conn.execute(sa.select(recognition).add_cte(remembered, forgotten))).one()
    return Recognition(is_known=row.is_known, is_first=row.is_first)
