"""Accounts, for admins: 403 `admin_required` for other users."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from gateway import inputs, views
from gateway.api import schemas, schemas_admin
from gateway.api.dependencies import Gateway, PageSize, PageToken, SignedIn, TokenId, UserId
from gateway.api.responses import answer, route
from repruv.auth.v1 import admin_service_pb2, auth_pb2

router = APIRouter(prefix="/admin", tags=["admin"])


@router.get("/users", **route("List accounts", schemas_admin.Users, "A page of them.", 403))
async def list_users(
    session: SignedIn,
    gateway: Gateway,
    email: Annotated[schemas.Text, Query(description="Only addresses that begin with this.")] = "",
    deleting: Annotated[bool, Query(description="Only accounts that are being deleted.")] = False,
    oldest_first: bool = False,
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> Response:
    """Return accounts, newest first by default."""
    page = await gateway.admin.list_users(
        session.identity,
        email_prefix=email,
        page_size=page_size,
        page_token=page_token,
        deleting_only=deleting,
        oldest_first=oldest_first,
    )
    return answer({"users": [views.user(account) for account in page.users], **_neighbours(page)})


@router.get(
    "/users/{user_id}",
    **route("An account", schemas_admin.UserWithSessions, "The account, its sessions and API tokens.", 403, 404),
)
async def get_user(user_id: UserId, session: SignedIn, gateway: Gateway) -> Response:
    """Return an account, its active sessions and its API tokens."""
    response = await gateway.admin.get_user(session.identity, user_id=user_id)
    session_views = [views.session(auth_session, current_id=session.session_id) for auth_session in response.sessions]
    token_views = [views.api_token(api_token) for api_token in response.api_tokens]
    return answer({"user": views.user(response.user), "sessions": session_views, "api_tokens": token_views})


@router.post(
    "/users/{user_id}/role",
    **route("Change a role", schemas_admin.OneUser, "Changed; all their sessions ended.", 400, 403, 404, 409),
)
async def set_user_role(user_id: UserId, body: schemas_admin.NewRole, session: SignedIn, gateway: Gateway) -> Response:
    """Change a role, not one's own. 403 `reauthentication_required`."""
    user = (
        await gateway.admin.set_user_role(session.identity, user_id=user_id, role=views.ASSIGNABLE_ROLES[body.role])
    ).user
    return _forget_and_answer(gateway, user)


@router.post(
    "/users/{user_id}/disable",
    **route("Close an account", schemas_admin.OneUser, "Closed; all their sessions ended.", 403, 404, 409),
)
async def disable_user(user_id: UserId, session: SignedIn, gateway: Gateway) -> Response:
    """Close an account, not one's own. 403 `reauthentication_required`."""
    return _forget_and_answer(gateway, (await gateway.admin.disable_user(session.identity, user_id=user_id)).user)


@router.post("/users/{user_id}/enable", **route("Open an account again", schemas_admin.OneUser, "Open.", 403, 404, 409))
async def enable_user(user_id: UserId, session: SignedIn, gateway: Gateway) -> Response:
    """Open a disabled account again. 403 `reauthentication_required`, 409 `deletion_pending`."""
    return answer({"user": views.user((await gateway.admin.enable_user(session.identity, user_id=user_id)).user)})


@router.post(
    "/users/{user_id}/deletion",
    **route("Delete an account", schemas_admin.OneUser, "It will be deleted at `deletion_at`.", 400, 403, 404, 409),
)
async def request_user_deletion(
    user_id: UserId, session: SignedIn, gateway: Gateway, body: schemas_admin.Deletion | None = None
) -> Response:
    """Begin the deletion of an account, not one's own. 403 `reauthentication_required`."""
    immediately = bool(body and body.immediately)
    response = await gateway.admin.request_user_deletion(session.identity, user_id=user_id, immediately=immediately)
    return _forget_and_answer(gateway, response.user)


@router.delete(
    "/users/{user_id}/deletion", **route("Keep an account", schemas_admin.OneUser, "It stays.", 403, 404, 409)
)
async def cancel_user_deletion(user_id: UserId, session: SignedIn, gateway: Gateway) -> Response:
    """Cancel the deletion of an account within its grace period. 403 `reauthentication_required`."""
    response = await gateway.admin.cancel_user_deletion(session.identity, user_id=user_id)
    return answer({"user": views.user(response.user)})


@router.post(
    "/users/{user_id}/sessions/revoke",
    **route("End sessions of an account", schemas_admin.Revoked, "They have ended.", 400, 403, 404),
)
async def revoke_user_sessions(
    user_id: UserId, session: SignedIn, gateway: Gateway, body: schemas_admin.WhichSession | None = None
) -> Response:
    """End one session of an account, or all sessions and API tokens. 403 `reauthentication_required`."""
    session_id = inputs.parse_id(body.session_id, "session") if body and body.session_id else ""
    count = (
        await gateway.admin.revoke_user_sessions(session.identity, user_id=user_id, session_id=session_id)
    ).revoked_count
    gateway.sessions.forget_revoked(user_id, {session_id} if session_id else None)
    return answer({"revoked_count": count})


@router.delete(
    "/users/{user_id}/api-tokens/{token_id}",
    **route("Revoke an API token of an account", None, "It is revoked, or had ended already.", 403, 404, status=204),
)
async def revoke_user_api_token(user_id: UserId, token_id: TokenId, session: SignedIn, gateway: Gateway) -> Response:
    """End an API token of an account. 403 `reauthentication_required`."""
    await gateway.admin.revoke_user_api_token(session.identity, user_id=user_id, token_id=token_id)
    gateway.sessions.forget_revoked(user_id, {token_id})
    return Response(status_code=204)


@router.get(
    "/sessions/count", **route("Count the sessions of all users", schemas_admin.SessionCount, "Up to 100,000.", 403)
)
async def count_sessions(session: SignedIn, gateway: Gateway) -> Response:
    """Count the active sessions of all users."""
    response = await gateway.admin.count_sessions(session.identity)
    return answer({"count": response.session_count, "user_count": response.user_count, "has_more": response.has_more})


@router.post(
    "/sessions/revoke",
    **route(
        "End the sessions of all users",
        schemas_admin.AllUsersRevoked,
        "The sessions have ended, at least those that a call can end in its time limit.",
        403,
    ),
)
async def revoke_all_users_sessions(session: SignedIn, gateway: Gateway) -> Response:
    """End all sessions except this one, and all API tokens, for example after a break-in. 403 `reauthentication_required`."""
    response = await gateway.admin.revoke_all_users_sessions(session.identity)
    gateway.sessions.forget_all()
    return answer({"revoked_count": response.revoked_count, "has_more": response.has_more})


@router.post(
    "/users/{user_id}/password-reset",
    response_class=Response,
    **route("Send a password reset", None, "The email is sent.", 403, 404, status=202),
)
async def send_password_reset(user_id: UserId, session: SignedIn, gateway: Gateway) -> Response:
    """Send the email for a new password; admins never choose it. 403 `reauthentication_required`."""
    await gateway.admin.send_password_reset(session.identity, user_id=user_id)
    return Response(status_code=202)


@router.delete(
    "/users/{user_id}/second-factor",
    **route("Remove a second factor", schemas_admin.OneUser, "Removed; all their sessions ended.", 403, 404, 409),
)
async def remove_second_factor(user_id: UserId, session: SignedIn, gateway: Gateway) -> Response:
    """Remove the second factor of a user who has lost it, not one's own. 403 `reauthentication_required`."""
    return _forget_and_answer(
        gateway, (await gateway.admin.remove_second_factor(session.identity, user_id=user_id)).user
    )


@router.get(
    "/security-events",
    **route("List security events", schemas_admin.SecurityEvents, "A page of them.", 403),
)
async def list_security_events(
    session: SignedIn,
    gateway: Gateway,
    user_id: Annotated[schemas.Text, Query(description="Only of this account.")] = "",
    kind: Annotated[  # more kinds exist than the items of other lists
        list[schemas.Text], Query(max_length=50, description="Only these kinds; by default all.")
    ] = [],  # noqa: B006
    oldest_first: bool = False,
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> Response:
    """Return security events, newest first by default."""
    rpc_request = admin_service_pb2.ListSecurityEventsRequest(
        user_id=user_id, kinds=kind, page_size=page_size, page_token=page_token, oldest_first=oldest_first
    )
    page = await gateway.admin.list_security_events.send(session.identity, rpc_request)
    events = [views.security_event(event) for event in page.events]
    return answer({"events": events, **_neighbours(page)})


def _neighbours(
    page: admin_service_pb2.ListUsersResponse | admin_service_pb2.ListSecurityEventsResponse,
) -> dict[str, str]:
    return {"next_page_token": page.next_page_token, "previous_page_token": page.previous_page_token}


def _forget_and_answer(gateway: Gateway, changed: auth_pb2.User) -> Response:
    gateway.sessions.forget_revoked(changed.user_id, None)
    return answer({"user": views.user(changed)})
