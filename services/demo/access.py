"""The user of a call, and what this user may see."""

from __future__ import annotations

from uuid import UUID

from chassis import errors, identity, ids

GUEST_INTERACTIONS = 20_000


def owner() -> UUID:
    """Return the id of the call's user. Raises `Unauthenticated` without one."""
    return ids.parse(identity.caller().require_user().user_id, "user_id")


def check_guest(interaction_count: int) -> None:
    """Raise `InvalidArgument` if the call's user is a guest and asks for more than `GUEST_INTERACTIONS`."""
    if identity.caller().require_user().role == "guest" and interaction_count > GUEST_INTERACTIONS:
        message = f"Guests get at most {GUEST_INTERACTIONS:,} interactions. Create an account for more."
        raise errors.InvalidArgument(message, field="interaction_count")


def viewer() -> UUID:
    """Return the owner. Raises `PermissionDenied` `email_unverified` if the identity may not see the dashboard and its rows."""
    if not identity.caller().require_user().can_access_dashboard:
        raise errors.PermissionDenied(
            "Verify your email address to see this data. Send the email from your security settings.",
            code="email_unverified",
        )
    return owner()
