"""Profiles: name, time zone, theme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import exc

from chassis import errors
from repruv.auth.v1 import auth_pb2
from tests.integration.auth.client import Gateway


async def test_fields_change_one_by_one(gateway: Gateway) -> None:
    account = await gateway.account()
    assert (await gateway.validate(account.token)).user.theme == auth_pb2.THEME_SYSTEM
    await gateway.auth("UpdateProfile", user=account.identity, name="  Mina Okafor ")
    await gateway.auth("UpdateProfile", user=account.identity, time_zone="Europe/Berlin")
    changed = await gateway.auth("UpdateProfile", user=account.identity, theme=auth_pb2.THEME_DARK)
    user = (await gateway.validate(account.token)).user
    assert user == changed.user
    assert (user.name, user.time_zone, user.theme) == ("Mina Okafor", "Europe/Berlin", auth_pb2.THEME_DARK)
    await gateway.auth("UpdateProfile", user=account.identity, name="", time_zone="")
    user = (await gateway.validate(account.token)).user
    assert (user.name, user.time_zone, user.theme) == ("", "", auth_pb2.THEME_DARK)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "x" * 101),
        ("name", "Mina\x07"),
        ("name", "Mi\u202ena"),
        ("name", "\u2800"),
        ("time_zone", "Europe/Nowhere"),
        ("time_zone", "Europe/Berlin\u202e"),
        ("time_zone", "x" * 5_000),
        ("theme", auth_pb2.THEME_UNSPECIFIED),
    ],
)
async def test_invalid_field_is_named_and_nothing_changes(gateway: Gateway, field: str, value: Any) -> None:
    account = await gateway.account()
    before = (await gateway.validate(account.token)).user
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await gateway.auth("UpdateProfile", user=account.identity, **{"name": "Mina", field: value})
    assert excinfo.value.field == field
    assert (await gateway.validate(account.token)).user == before


async def test_ended_session_changes_no_profile(gateway: Gateway) -> None:
    account = await gateway.account()
    await gateway.revoke_all(user=account.identity)
    with pytest.raises(errors.Unauthenticated):
        await gateway.auth("UpdateProfile", user=account.identity, name="Mina")


@pytest.mark.parametrize(
    ("column", "value"), [("time_zone", "Berlin; DROP"), ("time_zone", "x" * 65), ("theme", "red")]
)
async def test_database_rejects_illegal_profiles(
    gateway: Gateway, sql: Callable[..., Any], column: str, value: str
) -> None:
    account = await gateway.account()
    with pytest.raises(exc.IntegrityError):
        await sql(f"UPDATE auth.users SET {column} = :value WHERE user_id = :user", value=value, user=account.user_id)
