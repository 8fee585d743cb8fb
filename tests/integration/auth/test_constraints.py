"""Database constraints refuse illegal rows."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import exc

from chassis import postgres
from tests.integration.auth.client import Gateway


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("email = 'Ada@example.org'", "users_email_is_normalized"),
        ("email = 'ada'", "users_email_is_normalized"),
        ("email = 'ada b@example.org'", "users_email_is_normalized"),
        ("email = repeat('a', 250) || '@b.org'", "users_email_length"),
        ("name = repeat('x', 101)", "users_name_length"),
        ("role = 'owner'", "users_role_is_known"),
        ("password_hash = 'tulip-anvil-rowing'", "users_password_is_hashed"),
        ("password_hash = '$2b$12$' || repeat('x', 52)", "users_password_is_hashed"),
        ("password_hash = '$2b$15$' || repeat('x', 53)", "users_password_is_hashed"),
    ],
)
async def test_an_illegal_user_is_refused(gateway: Gateway, sql: Any, change: str, constraint: str) -> None:
    account = await gateway.account()
    with pytest.raises(exc.IntegrityError) as excinfo:
        await sql(f"UPDATE auth.users SET {change} WHERE user_id = :id", id=account.user_id)
    assert postgres.violated_constraint(excinfo.value) == constraint


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("token_hash = 'short'", "sessions_token_is_hashed"),
        ("revoked_at = now()", "sessions_revoked_for_a_reason"),
        ("revoke_reason = 'logout'", "sessions_revoked_for_a_reason"),
        ("revoked_at = now(), revoke_reason = 'because'", "sessions_revoke_reason_is_known"),
        ("revoked_at = created_at - interval '1 s', revoke_reason = 'logout'", "sessions_revoked_after_start"),
        ("last_seen_at = created_at - interval '1 s'", "sessions_times_are_in_order"),
        ("idle_expires_at = last_seen_at", "sessions_times_are_in_order"),
        ("absolute_expires_at = idle_expires_at - interval '1 s'", "sessions_times_are_in_order"),
        ("user_agent = repeat('x', 401)", "sessions_user_agent_length"),
        ("ip_address = repeat('1', 46)", "sessions_ip_address_length"),
        ("client_name = repeat('x', 101)", "sessions_client_name_length"),
        ("authenticated_at = created_at - interval '1 s'", "sessions_authenticated_within"),
        ("revoked_at = now(), revoke_reason = 'refreshed'", "sessions_revoke_reason_is_known"),
    ],
)
async def test_an_illegal_session_is_refused(gateway: Gateway, sql: Any, change: str, constraint: str) -> None:
    account = await gateway.account()
    with pytest.raises(exc.IntegrityError) as excinfo:
        await sql(f"UPDATE auth.sessions SET {change} WHERE session_id = :id", id=account.session_id)
    assert postgres.violated_constraint(excinfo.value) == constraint


ENCRYPTED_COLUMNS = "decode(repeat('ab', 60), 'hex')"
HASH = "decode(repeat('ab', 32), 'hex')"
PASSKEY = f"passkeys VALUES (gen_random_uuid(), :id, {HASH}, {HASH}, 0, '{{}}', gen_random_uuid()"


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("second_factors VALUES (:id, 'readable', now())", "second_factors_secret_is_sealed"),
        (f"second_factors VALUES (:id, {ENCRYPTED_COLUMNS})", "second_factors_wait_or_count"),
        (f"second_factors VALUES (:id, {ENCRYPTED_COLUMNS}, now(), now(), 1)", "second_factors_wait_or_count"),
        (f"second_factors VALUES (:id, {ENCRYPTED_COLUMNS}, NULL, now())", "second_factors_were_used"),
        ("login_challenges VALUES ('short', :id, true, 0, now())", "login_challenges_are_hashed"),
        (f"login_challenges VALUES ({HASH}, :id, true, 6, now())", "login_challenges_tries_are_few"),
        ("mail_tokens VALUES ('short', :id, 'reset', now())", "mail_tokens_are_hashed"),
        (f"mail_tokens VALUES ({HASH}, :id, 'other', now())", "mail_tokens_purpose_is_known"),
        (
            f"mail_tokens VALUES ({HASH}, :id, 'reset', now()), (decode(repeat('cd', 32), 'hex'), :id, 'reset', now())",
            "mail_tokens_one_counts",
        ),
        (f"{PASSKEY}, false, true, 'Key')", "passkeys_synced_if_syncable"),
        (f"{PASSKEY}, false, false, '')", "passkeys_name_length"),
        (f"{PASSKEY}, false, false, 'A'), {PASSKEY[16:]}, false, false, 'B')", "passkeys_credential_id_key"),
        (f"passkey_challenges VALUES ({HASH}, 'add', NULL, now())", "passkey_challenges_are_of_sessions"),
        (f"passkey_challenges VALUES ({HASH}, 'other', :id, now())", "passkey_challenges_purpose_is_known"),
        (
            "security_events VALUES (gen_random_uuid(), 'other', :id, NULL, NULL, '', '', '{}')",
            "security_events_kind_is_known",
        ),
        (
            "security_events VALUES (gen_random_uuid(), 'connected', :id, NULL, NULL, '', '', '[]')",
            "security_events_details_are_few",
        ),
    ],
)
async def test_an_illegal_row_of_an_account_is_refused(
    gateway: Gateway, sql: Any, statement: str, constraint: str
) -> None:
    account = await gateway.account()
    with pytest.raises(exc.IntegrityError) as excinfo:
        await sql(f"INSERT INTO auth.{statement}", id=account.user_id)
    assert postgres.violated_constraint(excinfo.value) == constraint
