"""Creation of the first admin from the settings."""

from __future__ import annotations

import logging

from services.auth import domain, validation
from services.auth import storage as account_storage
from services.auth.audit import Kind, Origin, record
from services.auth.context import Context

logger = logging.getLogger(__name__)


async def ensure_admin(context: Context, *, email: str, password: str, beside_others: bool = False) -> None:
    """Create an admin with a verified address, unless there is one who can sign in, or `beside_others`.

    An existing admin keeps address and password. No user is promoted, because anyone may have registered the address. Raises
    `EmailTaken` if it belongs to an ordinary user, and `InvalidArgument`.
    """
    email = validation.normalize_email(email)
    validation.check_password(password, email=email)
    if not beside_others and await _has_admin(context):
        logger.info("ADMIN_EMAIL and ADMIN_PASSWORD are not used: there is an administrator")
        return
    if await _role(context, email) is None:
        await _create_admin(context, email, password)
    if await _role(context, email) is not domain.Role.ADMIN:
        raise domain.EmailTaken(field="email")


async def _has_admin(context: Context) -> bool:
    async with context.autocommit().connect() as conn:
        return await account_storage.has_admin(conn)


async def _role(context: Context, email: str) -> domain.Role | None:
    async with context.autocommit().connect() as conn:
        account = await account_storage.find_account(conn, email)
    return account.user.role if account else None


async def _create_admin(context: Context, email: str, password: str) -> None:
    password_hash = await context.passwords.hash(password)
    try:
        async with context.transaction() as tx:
            user = await account_storage.insert_user(
                tx.conn, email=email, name="", role=domain.Role.ADMIN, password_hash=password_hash, is_verified=True
            )
            await record(tx.conn, Kind.REGISTERED, Origin(user_id=user.user_id), role=user.role.value)
    except domain.EmailTaken:
        logger.info("the admin's address was registered concurrently")
    else:
        logger.info("admin created", extra={"user_id": user.user_id})
