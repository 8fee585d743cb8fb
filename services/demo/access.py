"""The user of a call, and what this user may see."""

from __future__ import annotations

from uuid import UUID

from chassis import errors, identity, ids


def owner() -> UUID:
    """Return the id of the call's user. Raises `Unauthenticated` without one."""
    return ids.parse(identity.caller().require_user().user_id, "user_id")


def viewer() -> UUID:
    """Return the owner. Raises `PermissionDenied` `email_unverified` if the identity may not see the dashboard and its rows."""
    if not identity.caller().require_user().can_access_dashboard:
        raise errors.PermissionDenied(
            "Verify your email address to see this data. Send the email from your security settings.",
            code="email_unverified",
        )
    return owner()
