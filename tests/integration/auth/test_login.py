"""Sign-in with a password: success, refusals that reveal nothing, throttling."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import bcrypt
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors
from services.auth import domain, throttling
from services.auth import storage as account_storage
from services.auth.accounts.recovery import Recovery
from services.auth.context import Context
from services.auth.passwords import Passwords, TooBusy
from services.auth.sign_in.operations import SignIn
from tests.integration.auth.client import PASSWORD, Gateway, new_address, new_email
from tests.integration.auth.conftest import MEMORY_KIB

WRONG = "not-the-password-at-all"
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


async def fail(gateway: Gateway, email: str, ip_address: str, times: int) -> None:
    for _ in range(times):
        with pytest.raises(errors.Unauthenticated):
            await gateway.login(email, password=WRONG, ip_address=ip_address)


def client(ip_address: str) -> domain.Client:
    return domain.Client(user_agent="", ip_address=ip_address)


@pytest.fixture
def stuck(context: Context) -> Iterator[SignIn]:
    """Sign-in with a full hashing queue: every hash is refused."""
    passwords = Passwords(memory_kib=MEMORY_KIB, cores=1, waiting_per_core=-1)
    yield SignIn(replace(context, passwords=passwords))
    passwords.close()


async def test_each_login_begins_a_session_of_its_own(gateway: Gateway) -> None:
    account = await gateway.account()
    login = await gateway.login(f" {account.email.upper()}", ip_address=account.ip_address, user_agent="Safari")
    assert login.user.user_id == account.user_id
    assert login.session.session_id != account.session_id
    assert login.token != account.token
    sessions = await gateway.sessions(account.identity)
    assert [session.session_id for session in sessions] == [login.session.session_id, account.session_id]
    assert sessions[0].user_agent == "Safari"


async def test_responses_do_not_reveal_whether_an_account_exists(gateway: Gateway) -> None:
    account = await gateway.account()
    refusals = []
    for email, password in [
        (account.email, WRONG),
        (new_email(), WRONG),
        (account.email, ""),
        (new_email(), "x" * 999),
    ]:
        with pytest.raises(errors.Unauthenticated) as excinfo:
            await gateway.login(email, password=password, ip_address=account.ip_address)
        refusals.append((excinfo.value.code, excinfo.value.message, excinfo.value.field, excinfo.value.details))
    assert refusals == [("invalid_credentials", refusals[0][1], "", {})] * 4


async def test_an_unknown_address_costs_one_hash_like_an_existing_one(gateway: Gateway, stuck: SignIn) -> None:
    account = await gateway.account()
    for email in (account.email, new_email()):
        with pytest.raises(TooBusy):
            await stuck.login(email=email, password=PASSWORD, client=client(account.ip_address))


@pytest.mark.parametrize("password", ["", "\x00", "x" * 129, "x" * 100_000])
async def test_an_impossible_password_is_refused_as_wrong(gateway: Gateway, password: str) -> None:
    account = await gateway.account()
    with pytest.raises(errors.Unauthenticated):
        await gateway.login(account.email, password=password, ip_address=account.ip_address)


async def test_an_email_that_cannot_be_stored_is_refused(gateway: Gateway) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await gateway.login("ada\x00@example.org")
    assert excinfo.value.field == "email"


async def test_guesses_block_only_that_network_at_that_account(gateway: Gateway) -> None:
    account = await gateway.account()
    await fail(gateway, account.email, account.ip_address, throttling.FAILURES_PER_ACCOUNT)
    with pytest.raises(errors.ResourceExhausted) as excinfo:
        await gateway.login(account.email, ip_address=account.ip_address)
    assert excinfo.value.code == "too_many_attempts"
    assert 0 < int(excinfo.value.details["retry_after_seconds"]) <= 15 * 60
    assert await gateway.login(account.email, ip_address=new_address())


async def test_an_unknown_account_is_throttled_like_an_existing_one(gateway: Gateway) -> None:
    email, ip_address = new_email(), new_address()
    await fail(gateway, email, ip_address, throttling.FAILURES_PER_ACCOUNT)
    with pytest.raises(errors.ResourceExhausted):
        await gateway.login(email, password=WRONG, ip_address=ip_address)


async def test_success_resets_the_failures_of_the_account(gateway: Gateway) -> None:
    account = await gateway.account()
    for _ in range(2):
        await fail(gateway, account.email, account.ip_address, throttling.FAILURES_PER_ACCOUNT - 1)
        await gateway.login(account.email, ip_address=account.ip_address)


async def test_counting_restarts_after_the_window(gateway: Gateway, sql: Any) -> None:
    account = await gateway.account()
    await fail(gateway, account.email, account.ip_address, throttling.FAILURES_PER_ACCOUNT)
    await sql(
        "UPDATE auth.login_failures SET window_ends_at = window_ends_at - interval '15 minutes' WHERE key LIKE :key",
        key=f"account:{account.email}|%",
    )
    await fail(gateway, account.email, account.ip_address, throttling.FAILURES_PER_ACCOUNT - 1)
    assert await gateway.login(account.email, ip_address=account.ip_address)


async def test_further_attempts_do_not_extend_the_window(gateway: Gateway, sql: Any) -> None:
    email, ip_address = new_email(), new_address()
    ends = []
    for _ in range(2):
        await fail(gateway, email, ip_address, 1)
        rows = await sql("SELECT window_ends_at FROM auth.login_failures WHERE key LIKE :key", key=f"%{ip_address}")
        ends.append([row.window_ends_at for row in rows])
    assert ends[0] == ends[1]


async def test_guesses_at_many_accounts_block_the_network(gateway: Gateway, engine: AsyncEngine) -> None:
    account = await gateway.account()
    async with engine.begin() as conn:
        for _ in range(throttling.FAILURES_PER_NETWORK - 1):
            await throttling.count_attempt(conn, [f"address:{account.ip_address}"])
    await gateway.login(account.email, ip_address=account.ip_address)
    await fail(gateway, new_email(), account.ip_address, 1)
    with pytest.raises(errors.ResourceExhausted):
        await gateway.login(account.email, ip_address=account.ip_address)


async def test_an_ipv6_customer_is_one_network(gateway: Gateway) -> None:
    account = await gateway.account()
    network = f"2001:db8:{uuid.uuid4().hex[:4]}:1"
    for host in range(throttling.FAILURES_PER_ACCOUNT):
        await fail(gateway, account.email, f"{network}::{host + 1:x}", 1)
    with pytest.raises(errors.ResourceExhausted):
        await gateway.login(account.email, ip_address=f"{network}::ffff")


async def test_throttling_precedes_hashing(gateway: Gateway, stuck: SignIn) -> None:
    account = await gateway.account()
    await fail(gateway, account.email, account.ip_address, throttling.FAILURES_PER_ACCOUNT)
    with pytest.raises(domain.TooManyAttempts):
        await stuck.login(email=account.email, password=PASSWORD, client=client(account.ip_address))


async def test_a_burst_of_guesses_gets_no_extra_attempts(
    gateway: Gateway, engine: AsyncEngine, waiting_for_locks: Callable[[], Awaitable[int]], eventually: Eventually
) -> None:
    account = await gateway.account()
    async with engine.begin() as holding:
        await account_storage.lock_user(holding, uuid.UUID(account.user_id))
        right = asyncio.create_task(gateway.login(account.email, ip_address=account.ip_address))

        async def waits() -> bool:
            return await waiting_for_locks() == 1

        await eventually(waits)
        await fail(gateway, account.email, account.ip_address, throttling.FAILURES_PER_ACCOUNT)
    with pytest.raises(errors.ResourceExhausted):
        await right


async def test_concurrent_failures_are_all_counted(gateway: Gateway, sql: Any) -> None:
    email, ip_address = new_email(), new_address()
    attempts = (gateway.login(email, password=WRONG, ip_address=ip_address) for _ in range(8))
    await asyncio.gather(*attempts, return_exceptions=True)
    rows = await sql("SELECT failures FROM auth.login_failures WHERE key LIKE :key", key=f"%{ip_address}")
    assert [row.failures for row in rows] == [8, 8]


async def test_concurrent_logins_with_the_right_password_all_succeed(gateway: Gateway) -> None:
    account = await gateway.account()
    logins = await asyncio.gather(*(gateway.login(account.email, ip_address=account.ip_address) for _ in range(15)))
    assert len({login.session.session_id for login in logins}) == 15


async def test_an_outdated_hash_is_replaced_at_login(gateway: Gateway, context: Context, sql: Any) -> None:
    account = await gateway.account()

    async def stored() -> str:
        [(password_hash,)] = await sql("SELECT password_hash FROM auth.users WHERE email = :email", email=account.email)
        return str(password_hash)

    before = await stored()
    assert f"m={MEMORY_KIB}," in before
    await gateway.login(account.email, ip_address=account.ip_address)
    assert await stored() == before
    stronger = Passwords(memory_kib=MEMORY_KIB * 2)
    later = SignIn(replace(context, passwords=stronger))
    await later.login(email=account.email, password=PASSWORD, client=client(account.ip_address))
    assert f"m={MEMORY_KIB * 2}," in await stored()
    await later.login(email=account.email, password=PASSWORD, client=client(account.ip_address))
    stronger.close()


class Observed(Passwords):
    """Passwords whose hashes are all outdated at once, with the time until which a call waits for each."""

    def __init__(self) -> None:
        super().__init__(memory_kib=MEMORY_KIB)
        self.until: list[float | None] = []

    def is_outdated(self, password_hash: str) -> bool:
        return True

    async def hash(self, password: str, *, until: float | None = None) -> str:
        self.until.append(until)
        return await super().hash(password, until=until)

    async def verify(self, password_hash: str | None, password: str, *, until: float | None = None) -> bool:
        self.until.append(until)
        return await super().verify(password_hash, password, until=until)


async def test_two_hashes_of_a_call_share_its_time(gateway: Gateway, context: Context) -> None:
    """With two seconds for each, the call would reach its deadline before it could be refused as `too_busy`."""
    account = await gateway.account()
    for call in ("sign-in", "change"):
        passwords = Observed()
        observed = replace(context, passwords=passwords)
        if call == "sign-in":
            await SignIn(observed).login(email=account.email, password=PASSWORD, client=client(account.ip_address))
        else:
            actor = domain.Actor(user_id=uuid.UUID(account.user_id), session_id=uuid.UUID(account.session_id))
            await Recovery(observed).change_password(
                actor, current=PASSWORD, new="tulip-anvil-rowing", client=client(account.ip_address)
            )
        passwords.close()
        first, second = passwords.until
        assert first == second is not None


async def test_bcrypt_hash_of_an_imported_account_is_replaced_at_its_first_login(gateway: Gateway, sql: Any) -> None:
    account = await gateway.account()
    imported = bcrypt.hashpw(b"short", bcrypt.gensalt(4)).decode()
    statement = "UPDATE auth.users SET password_hash = :hash WHERE user_id = :id RETURNING password_changed_at"
    [(changed_at,)] = await sql(statement, hash=imported, id=account.user_id)
    await fail(gateway, account.email, account.ip_address, 1)
    for _ in range(2):
        new = await gateway.login(account.email, password="short", ip_address=account.ip_address)
        assert new.user.user_id == account.user_id
        [row] = await sql(
            "SELECT password_hash, password_changed_at FROM auth.users WHERE user_id = :id", id=account.user_id
        )
        assert row.password_hash.startswith("$argon2id$")
        assert row.password_changed_at == changed_at


async def test_a_concurrent_password_change_is_not_undone(gateway: Gateway, engine: AsyncEngine) -> None:
    account = await gateway.account()
    async with engine.begin() as conn:
        row = await account_storage.find_account(conn, account.email)
        await account_storage.replace_password_hash(
            conn, uuid.UUID(account.user_id), old="$argon2id$of-yesterday", new="$argon2id$of-yesterday-renewed"
        )
        stored_account = await account_storage.find_account(conn, account.email)
    assert row is not None
    assert stored_account is not None
    assert stored_account.password_hash == row.password_hash


async def test_a_user_has_at_most_twenty_live_sessions(gateway: Gateway) -> None:
    account = await gateway.account()
    logins = [await gateway.login(account.email, ip_address=account.ip_address) for _ in range(20)]
    with pytest.raises(errors.Unauthenticated):
        await gateway.validate(account.token)
    session_ids = {session.session_id for session in await gateway.sessions(account.identity)}
    assert session_ids == {login.session.session_id for login in logins}


async def test_concurrent_logins_respect_the_session_limit(gateway: Gateway, sql: Any) -> None:
    account = await gateway.account()
    for _ in range(2):
        await asyncio.gather(*(gateway.login(account.email, ip_address=account.ip_address) for _ in range(15)))
    [(living,)] = await sql(
        "SELECT count(*) FROM auth.sessions WHERE user_id = :id AND revoked_at IS NULL", id=account.user_id
    )
    assert living == domain.SESSIONS_PER_USER
