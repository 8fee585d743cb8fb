"""Verification of a code of the second factor: a correct code is spent and counts once."""

from __future__ import annotations

import uuid
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth import domain, throttling, validation
from services.auth.encryption.keyring import Keyring
from services.auth.second_factor import codes
from services.auth.second_factor import storage as factor_storage


class CodeKind(StrEnum):
    APP = "app"
    RECOVERY = "recovery"


async def spend_code(conn: AsyncConnection, keyring: Keyring, user_id: uuid.UUID, code: str) -> CodeKind | None:
    """Spend a code of the app or a recovery code; None if it is wrong, which is counted.

    The caller has locked the account, so guesses are serialized, and commits even if the code is refused.
    Raises `TooManyAttempts` and `SecondFactorNotEnabled`.
    """
    limits = throttling.of_codes(user_id)
    await throttling.refuse_if_blocked(conn, limits)
    factor = await factor_storage.get_factor(conn, user_id)
    if factor is None or factor.enabled_at is None:
        raise domain.SecondFactorNotEnabled()
    cleaned = validation.clean_code(code)
    secret = keyring.decrypt(factor.sealed_secret, associated_data=codes.associated_data(user_id))
    kind: CodeKind | None = None
    if codes.is_recovery(cleaned):
        if await factor_storage.spend_recovery_code(conn, user_id, codes.recovery_hash(secret, cleaned)):
            kind = CodeKind.RECOVERY
    else:
        step = codes.matching_step(secret, cleaned, now=factor.now)
        if step is not None and await factor_storage.spend_step(conn, user_id, step):
            kind = CodeKind.APP
    if kind is not None:
        await throttling.forget(conn, limits)
    elif cleaned:  # an empty code is not a guess
        await throttling.count_attempt(conn, limits)
    return kind
