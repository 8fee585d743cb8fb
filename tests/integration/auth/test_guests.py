"""Guests: bounded in number and time, without emails and without sensitive changes."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import exc

from chassis import errors
from repruv.auth.v1 import auth_pb2
from services.auth import domain
from services.auth.context import Context
from services.auth.email import jobs as email_jobs
from services.auth.guests import operations
from tests.integration.auth.client import Gateway, new_address
from tests.integration.auth.conftest import REGISTRATIONS_PER_ADDRESS
from tests.integration.auth.mailbox import Mailbox


@pytest.fixture
async def no_guests(sql: Callable[..., Any]) -> None:
    """Delete the guests of other tests."""
    await sql("DELETE FROM auth.users WHERE role = 'guest'")


async def begin(gateway: Gateway, ip_address: str = "") -> Any:
    return await gateway.auth("BeginGuestSession", ip_address=ip_address or new_address())


async def test_guest_has_a_session_and_is_deleted_after_hours(gateway: Gateway) -> None:
    admitted = await begin(gateway)
    assert admitted.user.role == auth_pb2.USER_ROLE_GUEST
    assert admitted.user.email.endswith("@guest.invalid")
    lifetime = admitted.user.deletion_time.ToDatetime() - admitted.user.create_time.ToDatetime()
    assert abs(lifetime - operations.LIFETIME) < timedelta(seconds=1)
    validated = await gateway.validate(admitted.token)
    assert validated.user == admitted.user
    assert validated.user.can_access_dashboard


async def test_guests_are_bounded(context: Context, no_guests: None) -> None:
    guests = operations.Guests(dataclasses.replace(context, max_guests=2))
    answers = await asyncio.gather(*(guests.begin(domain.NOWHERE) for _ in range(5)), return_exceptions=True)
    refusals = [answer for answer in answers if isinstance(answer, operations.TooManyGuests)]
    assert (len(refusals), len(answers)) == (3, 5)
    with pytest.raises(operations.TooManyGuests):
        await operations.Guests(dataclasses.replace(context, max_guests=0)).begin(domain.NOWHERE)


async def test_guests_count_as_registrations_of_their_network(gateway: Gateway) -> None:
    ip_address = new_address()
    for _ in range(REGISTRATIONS_PER_ADDRESS):
        await begin(gateway, ip_address)
    with pytest.raises(errors.ResourceExhausted) as excinfo:
        await begin(gateway, ip_address)
    assert excinfo.value.code == "too_many_attempts"


async def test_guests_cannot_make_sensitive_changes(gateway: Gateway) -> None:
    admitted = await begin(gateway)
    user = (await gateway.validate(admitted.token)).identity
    calls: list[Callable[[], Any]] = [
        lambda: gateway.api_token("CreateApiToken", user=user, name="Report", scopes=[1]),
        lambda: gateway.auth("RequestEmailChange", user=user, email="mina@example.org"),
        lambda: gateway.auth("RequestEmailVerification", user=user),
        lambda: gateway.auth("BeginTotp", user=user),
        lambda: gateway.passkey("BeginAddPasskey", user=user),
        lambda: gateway.auth("RequestDeletion", user=user, email=admitted.user.email),
        lambda: gateway.auth("CancelDeletion", user=user),
    ]
    for call in calls:
        with pytest.raises(errors.PermissionDenied) as excinfo:
            await call()
        assert excinfo.value.code == "account_required"


async def test_no_email_reaches_a_guest(gateway: Gateway, mailbox: Mailbox) -> None:
    admitted = await begin(gateway)
    payloads = [
        email_jobs.Payload(email_jobs.Purpose.RESET, email=admitted.user.email),
        email_jobs.Payload(email_jobs.Purpose.VERIFY, user_id=admitted.user.user_id),
        email_jobs.Payload(email_jobs.Purpose.DELETION, user_id=admitted.user.user_id),
    ]
    for payload in payloads:
        assert await mailbox.run(payload) == {"outcome": "no_account"}


async def test_database_keeps_no_guest_without_a_deletion(gateway: Gateway, sql: Callable[..., Any]) -> None:
    admitted = await begin(gateway)
    with pytest.raises(exc.IntegrityError, match="users_guests_are_deleted"):
        await sql(
            "UPDATE auth.users SET deletion_id = NULL, deletion_due_at = NULL WHERE user_id = :user",
            user=admitted.user.user_id,
        )


async def test_admin_cannot_keep_or_promote_a_guest(gateway: Gateway, admin: Any) -> None:
    admitted = await begin(gateway)
    await gateway.admin("CancelUserDeletion", user=admin.identity, user_id=admitted.user.user_id)
    account = await gateway.admin("GetUser", user=admin.identity, user_id=admitted.user.user_id)
    assert account.user.deletion_time == admitted.user.deletion_time
    with pytest.raises(errors.FailedPrecondition):
        await gateway.admin(
            "SetUserRole", user=admin.identity, user_id=admitted.user.user_id, role=auth_pb2.USER_ROLE_ADMIN
        )
    with pytest.raises(errors.InvalidArgument):
        await gateway.admin(
            "SetUserRole", user=admin.identity, user_id=admitted.user.user_id, role=auth_pb2.USER_ROLE_GUEST
        )
