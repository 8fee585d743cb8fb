"""Key rotation re-encrypts with the newest key what older keys encrypted."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.encryption import key_rotation
from services.auth.encryption.keyring import Keyring
from services.auth.second_factor.codes import associated_data
from services.auth.second_factor.storage import ENCRYPTED_SECRET
from tests.integration.auth.client import Gateway

COLUMNS = [ENCRYPTED_SECRET]


async def test_outdated_secrets_are_reencrypted_in_batches_and_lost_ones_counted(
    gateway: Gateway, engine: AsyncEngine, keyring: Keyring, sql: Any
) -> None:
    await key_rotation.rotate_keys(engine, keyring, COLUMNS)
    old, foreign = Keyring({"a": b"A" * 32}), Keyring({"z": b"Z" * 32})
    accounts = [await gateway.account() for _ in range(5)]
    secrets = {}
    for account in accounts:
        secrets[account.user_id] = (await gateway.auth("BeginTotp", user=account.identity)).secret
    sealed_by = {account.user_id: old for account in accounts[:4]} | {accounts[4].user_id: foreign}
    for user_id, by in sealed_by.items():
        sealed = by.encrypt(secrets[user_id], associated_data=associated_data(uuid.UUID(user_id)))
        await sql("UPDATE auth.second_factors SET sealed_secret = :it WHERE user_id = :id", it=sealed, id=user_id)
    assert await key_rotation.rotate_keys(engine, keyring, COLUMNS, batch=2) == key_rotation.Outcome(
        reencrypted=4, lost=1
    )
    for account in accounts[:4]:
        [(sealed,)] = await sql("SELECT sealed_secret FROM auth.second_factors WHERE user_id = :id", id=account.user_id)
        assert not keyring.is_outdated(sealed)
        assert (
            keyring.decrypt(sealed, associated_data=associated_data(uuid.UUID(account.user_id)))
            == secrets[account.user_id]
        )
    await sql("DELETE FROM auth.second_factors WHERE user_id = :id", id=accounts[4].user_id)
    assert await key_rotation.rotate_keys(engine, keyring, COLUMNS, batch=2) == key_rotation.Outcome(
        reencrypted=0, lost=0
    )
