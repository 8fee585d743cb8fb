"""Registration."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chassis import errors
from repruv.auth.v1 import auth_pb2
from services.auth import domain, tokens
from services.auth.admin import seed
from services.auth.context import Context
from tests.integration.auth.client import PASSWORD, Gateway, new_address, new_email


async def test_registration_begins_a_session(gateway: Gateway) -> None:
    email = new_email()
    registration = await gateway.register(
        f"  {email.upper()} ", name=" Ada ", ip_address="2001:DB8::7", user_agent="Firefox " + "x" * 500
    )
    assert (registration.user.email, registration.user.name, registration.user.role) == (
        email,
        "Ada",
        auth_pb2.USER_ROLE_USER,
    )
    assert registration.session.user_id == registration.user.user_id
    assert (registration.session.ip_address, len(registration.session.user_agent)) == ("2001:db8::7", 400)
    assert (await gateway.validate(registration.token)).user == registration.user


async def test_an_address_has_one_account(gateway: Gateway) -> None:
    email = new_email()
    await gateway.register(email)
    with pytest.raises(errors.AlreadyExists) as excinfo:
        await gateway.register(email.upper())
    assert (excinfo.value.code, excinfo.value.field) == ("email_taken", "email")


async def test_of_concurrent_registrations_one_gets_the_address(gateway: Gateway) -> None:
    email = new_email()
    answers = await asyncio.gather(*(gateway.register(email) for _ in range(8)), return_exceptions=True)
    refusals = [answer.code for answer in answers if isinstance(answer, errors.Error)]
    assert refusals == ["email_taken"] * 7


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"email": "ada"}, "email"),
        ({"email": "ada\x00@example.org"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "password123"}, "password"),
        ({"password": "tulip\x00anvil-rowing"}, "password"),
        ({"name": "A\x00da"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"ip_address": "10.0.0.1\x00"}, "client"),
    ],
)
async def test_refusals_name_the_field(gateway: Gateway, changed: dict[str, str], field: str) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await gateway.register(**{"email": new_email(), **changed})
    assert excinfo.value.field == field


async def test_an_odd_user_agent_does_not_prevent_registration(gateway: Gateway) -> None:
    registration = await gateway.register(new_email(), user_agent="Fire\x00fox\x9f")
    assert registration.session.user_agent == "Fire fox"


async def test_neither_password_nor_token_is_stored(gateway: Gateway, sql: Any) -> None:
    registration = await gateway.register(new_email())
    [(stored,)] = await sql(
        "SELECT u::text || s::text FROM auth.users u JOIN auth.sessions s USING (user_id) WHERE user_id = :id",
        id=registration.user.user_id,
    )
    assert "$argon2id$" in stored
    assert PASSWORD not in stored
    assert registration.token not in stored
    token_hash = tokens.session_hash(registration.token)
    assert token_hash is not None
    assert token_hash.hex() in stored


@pytest.mark.usefixtures("no_admin")
async def test_the_admin_is_created_once_and_keeps_a_changed_password(gateway: Gateway, context: Context) -> None:
    email, address = new_email(), new_address()
    await asyncio.gather(*(seed.ensure_admin(context, email=email, password=PASSWORD) for _ in range(4)))
    await seed.ensure_admin(context, email=email.upper(), password="another-password-of-the-admin")
    login = await gateway.login(email, ip_address=address)
    assert login.user.role == auth_pb2.USER_ROLE_ADMIN
    with pytest.raises(errors.Unauthenticated):
        await gateway.login(email, password="another-password-of-the-admin", ip_address=address)


@pytest.mark.usefixtures("no_admin")
async def test_admin_who_changed_the_address_gets_no_second_one_beside_it(
    gateway: Gateway, context: Context, sql: Any
) -> None:
    email, changed = new_email(), new_email()
    await seed.ensure_admin(context, email=email, password=PASSWORD)
    await sql("UPDATE auth.users SET email = :changed WHERE email = :email", changed=changed, email=email)
    await seed.ensure_admin(context, email=email, password=PASSWORD)
    with pytest.raises(errors.Unauthenticated):
        await gateway.login(email)
    # An operator asks for another one, or nobody can sign in as an admin any more.
    await seed.ensure_admin(context, email=email, password=PASSWORD, beside_others=True)
    await sql(
        "UPDATE auth.users SET disabled_at = now() WHERE email IN (:email, :changed)", changed=changed, email=email
    )
    further = new_email()
    await seed.ensure_admin(context, email=further, password=PASSWORD)
    assert (await gateway.login(further)).user.role == auth_pb2.USER_ROLE_ADMIN


@pytest.mark.usefixtures("no_admin")
async def test_admin_of_the_settings_who_was_demoted_stays_a_user(gateway: Gateway, context: Context, sql: Any) -> None:
    email = new_email()
    await seed.ensure_admin(context, email=email, password=PASSWORD)
    await seed.ensure_admin(context, email=new_email(), password=PASSWORD, beside_others=True)
    await sql("UPDATE auth.users SET role = 'user' WHERE email = :email", email=email)
    await seed.ensure_admin(context, email=email, password=PASSWORD)
    assert (await gateway.login(email)).user.role == auth_pb2.USER_ROLE_USER


@pytest.mark.usefixtures("no_admin")
async def test_a_user_with_the_admins_address_is_not_promoted(gateway: Gateway, context: Context) -> None:
    account = await gateway.account()
    with pytest.raises(domain.EmailTaken):
        await seed.ensure_admin(context, email=account.email, password="another-password-of-the-admin")
    assert (await gateway.validate(account.token)).user.role == auth_pb2.USER_ROLE_USER
