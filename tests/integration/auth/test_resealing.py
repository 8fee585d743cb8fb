"""Secrets that an older key sealed are sealed again by the newest."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth import resealing, sealing
from services.auth.codes import place
from tests.integration.auth.conftest import Gateway

COLUMNS = [resealing.SECOND_FACTORS]


async def test_old_seals_are_replaced_in_batches_and_lost_ones_told(
    gateway: Gateway, engine: AsyncEngine, ring: sealing.Ring, sql: Any
) -> None:
    await resealing.reseal(engine, ring, COLUMNS)
    old, foreign = sealing.Ring({"a": b"A" * 32}), sealing.Ring({"z": b"Z" * 32})
    accounts = [await gateway.account() for _ in range(5)]
    secrets = {}
    for account in accounts:
        secrets[account.user_id] = (await gateway.auth("BeginTotp", user=account.identity)).secret
    sealed_by = {account.user_id: old for account in accounts[:4]} | {accounts[4].user_id: foreign}
    for user_id, by in sealed_by.items():
        sealed = by.seal(secrets[user_id], place=place(uuid.UUID(user_id)))
        await sql("UPDATE auth.second_factors SET sealed_secret = :it WHERE user_id = :id", it=sealed, id=user_id)
    assert await resealing.reseal(engine, ring, COLUMNS, batch=2) == resealing.Outcome(resealed=4, lost=1)
    for account in accounts[:4]:
        [(sealed,)] = await sql("SELECT sealed_secret FROM auth.second_factors WHERE user_id = :id", id=account.user_id)
        assert not ring.is_outdated(sealed)
        assert ring.open(sealed, place=place(uuid.UUID(account.user_id))) == secrets[account.user_id]
    await sql("DELETE FROM auth.second_factors WHERE user_id = :id", id=accounts[4].user_id)
    assert await resealing.reseal(engine, ring, COLUMNS, batch=2) == resealing.Outcome(resealed=0, lost=0)
