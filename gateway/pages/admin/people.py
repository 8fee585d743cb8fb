"""The addresses of the owners of jobs, and the owner of an address."""

from __future__ import annotations

from collections.abc import Iterable

from chassis import errors, ids
from gateway.container import Container
from gateway.views import engine

BATCH = 100


async def addresses(container: Container, owner_ids: Iterable[str], *, identity: str) -> dict[str, str]:
    """Return the addresses of the first `BATCH` owners by id; without those that have no account, empty while auth is down."""
    owners = sorted(set(owner_ids) - {engine.SYSTEM, ""})[:BATCH]
    if not owners:
        return {}
    try:
        accounts = (await container.admin.batch_get_users.quick(identity, user_ids=owners)).users
    except (errors.Unavailable, errors.DeadlineExceeded):
        return {}
    return {account.user_id: account.email for account in accounts}


async def owner_id(container: Container, owner: str, *, identity: str) -> str | None:
    """Return the id of an owner, who is named by id or address; None if there is no such account."""
    try:
        return str(ids.parse(owner, "owner"))
    except errors.InvalidArgument:
        pass
    page = await container.admin.list_users(identity, email_prefix=owner, page_size=BATCH, page_token="")
    return next((account.user_id for account in page.users if account.email.lower() == owner.lower()), None)
