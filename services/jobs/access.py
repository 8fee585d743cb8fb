"""Whose jobs the call being served may see."""

from __future__ import annotations

from uuid import UUID

from chassis import errors, identity, ids


def visible_owner() -> UUID | None:
    """Give the only owner whose jobs this call may see; None for all (services for themselves, and admins)."""
    caller = identity.caller()
    if caller.service == "gateway":
        # It speaks for users: a call that forgot for whom must not see everybody's.
        caller.require_user()
    user = caller.user
    return None if user is None or user.is_admin else UUID(user.user_id)


def owner(requested: str) -> UUID | None:
    """Give the owner whose jobs or events a call is about; the gateway may name one, to feed that owner's streams."""
    if requested and identity.caller().user is None:
        return ids.parse(requested, "owner_id")
    return visible_owner() or (ids.parse(requested, "owner_id") if requested else None)


def required_owner(requested: str) -> UUID:
    """Give the owner that a call is about, as `owner` does. Raises `InvalidArgument` if it is about nobody's."""
    if (found := owner(requested)) is None:
        raise errors.InvalidArgument("owner_id must be given.", field="owner_id")
    return found


def own_owner(requested: str) -> UUID:
    """Give the owner that a call is about which is for a user alone: an admin's is about the admin unless it names another."""
    user = identity.caller().user
    return required_owner(requested or (user.user_id if user else ""))
