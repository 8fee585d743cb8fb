"""The owner whose jobs the current call may access."""

from __future__ import annotations

from uuid import UUID

from chassis import errors, identity, ids
from services.jobs import domain


def visible_owner() -> UUID | None:
    """Return the only owner whose jobs this call may access; None for all owners (services, and admins)."""
    caller = identity.caller()
    if caller.service == "gateway":
        # The gateway calls for users: without a user it must not see the jobs of all owners.
        caller.require_user()
    user = caller.user
    return None if user is None or user.is_admin else UUID(user.user_id)


def is_operator() -> bool:
    """Return whether this call may read fields that are hidden from owners. Admins may, and services without a user."""
    return visible_owner() is None


def require_operator(caller: identity.Caller) -> None:
    """Reject users without the admin role. The gateway calls for users only."""
    user = caller.require_user() if caller.service == "gateway" else caller.user
    if user and not user.is_admin:
        raise errors.PermissionDenied("Only admins can do that.", code="admin_required")


def masks_payloads() -> bool:
    """Return whether sensitive fields of payloads are masked: on the pages of admins and in the admin command line."""
    caller = identity.caller()
    return caller.user.is_admin if caller.user else caller.service == "jobs"


def owner(requested: str) -> UUID | None:
    """Return the owner that the call reads: users get themselves, admins and services the requested owner.

    The gateway without a user may name any owner, because it feeds streams.
    """
    if requested and identity.caller().user is None:
        return ids.parse(requested, "owner_id")
    return visible_owner() or (ids.parse(requested, "owner_id") if requested else None)


def required_owner(requested: str) -> UUID:
    """Return the owner as `owner` does. Raises `InvalidArgument` without one."""
    if (owner_id := owner(requested)) is None:
        raise errors.InvalidArgument("owner_id must be given.", field="owner_id")
    return owner_id


def log_owner(requested: str) -> UUID:
    """Return the owner whose log of events a call reads. Raises `InvalidArgument` for the system, which has none."""
    return require_log(required_owner(requested), "owner_id")


def require_log(owner_id: UUID, field: str) -> UUID:
    """Return an owner that has a log of events. Raises `InvalidArgument` for the system."""
    if owner_id == domain.SYSTEM:
        raise errors.InvalidArgument("The events of the system form no log: watch its jobs one by one.", field=field)
    return owner_id


def kind_prefix() -> str:
    """Return the prefix of the calling service's kinds. A service reports only on attempts of these kinds."""
    return f"{identity.caller().service}."


def own_owner(requested: str) -> UUID:
    """Return the owner of a personal call. It is the user, unless an admin names another owner."""
    user = identity.caller().user
    return required_owner(requested or (user.user_id if user else ""))
