"""Password hashing: matches, unknown users, outdated parameters, a full queue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import bcrypt
import pytest

from services.auth.passwords import Passwords, TooBusy


@pytest.fixture(autouse=True)
def generous_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that hash have a low priority: on a busy machine they may wait for seconds."""
    monkeypatch.setattr("services.auth.passwords.MAX_SECONDS", 60.0)


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    hasher = Passwords(memory_kib=64)
    yield hasher
    hasher.close()


async def test_only_the_right_password_verifies(passwords: Passwords) -> None:
    stored = await passwords.hash("tulip-anvil-rowing")
    assert stored.startswith("$argon2id$v=19$m=64,t=2,p=1$")
    assert await passwords.verify(stored, "tulip-anvil-rowing")
    assert not await passwords.verify(stored, "Tulip-anvil-rowing")
    assert not await passwords.verify(stored, "")
    assert not await passwords.verify(None, "tulip-anvil-rowing")


async def test_one_password_composed_in_two_ways_is_the_same(passwords: Passwords) -> None:
    composed, decomposed = "caf\u00e9-anvil-rowing", "cafe\u0301-anvil-rowing"
    assert await passwords.verify(await passwords.hash(decomposed), composed)
    assert await passwords.verify(await passwords.hash(composed), decomposed)


async def test_hashes_of_the_same_password_differ(passwords: Passwords) -> None:
    assert await passwords.hash("tulip-anvil-rowing") != await passwords.hash("tulip-anvil-rowing")


async def test_a_hash_with_other_parameters_is_outdated_but_verifies(passwords: Passwords) -> None:
    stored = await passwords.hash("tulip-anvil-rowing")
    later = Passwords(memory_kib=128)
    assert not passwords.is_outdated(stored)
    assert later.is_outdated(stored)
    assert await later.verify(stored, "tulip-anvil-rowing")
    later.close()


@pytest.mark.parametrize("version", ["2a", "2b", "2y"])
async def test_bcrypt_hash_of_the_old_system_verifies_and_is_outdated(passwords: Passwords, version: str) -> None:
    stored = bcrypt_hash("tulip-anvil-rowing").replace("$2b$", f"${version}$")
    assert await passwords.verify(stored, "tulip-anvil-rowing")
    assert not await passwords.verify(stored, "tulip-anvil-rowinG")
    assert not await passwords.verify(stored, "")
    assert not await passwords.verify(stored, "tulip\x00anvil")
    assert passwords.is_outdated(stored)


async def test_bcrypt_ignores_what_follows_72_bytes_as_the_old_system_did(passwords: Passwords) -> None:
    stored = bcrypt_hash("a" * 72)
    assert await passwords.verify(stored, "a" * 72 + "ignored")
    assert not await passwords.verify(stored, "a" * 71)


async def test_bcrypt_hash_verifies_as_the_keyboard_composed_it(passwords: Passwords) -> None:
    decomposed = "cafe\u0301-anvil-rowing"
    assert await passwords.verify(bcrypt_hash(decomposed), decomposed)
    assert await passwords.verify(bcrypt_hash("caf\u00e9-anvil-rowing"), decomposed)


async def test_bcrypt_hash_that_is_no_hash_matches_nothing(passwords: Passwords) -> None:
    assert not await passwords.verify("$2b$04$" + "9" * 53, "tulip-anvil-rowing")
    assert not await passwords.verify("$2b$99$" + "x" * 53, "tulip-anvil-rowing")


def bcrypt_hash(password: str) -> str:
    return str(bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)), "ascii")


@contextmanager
def held() -> Iterator[tuple[Passwords, Callable[[], None]]]:
    """Yield passwords with one thread, which does nothing before the function is called."""
    passwords, let_go = Passwords(memory_kib=64, cores=1, waiting_per_core=3), threading.Event()
    passwords._threads.submit(let_go.wait)
    try:
        yield passwords, let_go.set
    finally:
        let_go.set()
        passwords.close()


async def test_a_flood_is_refused_and_slots_are_released() -> None:
    with held() as (slow, let_go):
        flood = [asyncio.ensure_future(slow.hash("tulip-anvil-rowing")) for _ in range(6)]
        await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
        let_go()
        answers = await asyncio.gather(*flood, return_exceptions=True)
        refusals = [answer for answer in answers if isinstance(answer, TooBusy)]
        assert len(refusals) == 4
        assert refusals[0].code == "too_busy"
        assert refusals[0].details == {"retry_after_seconds": "1"}
        assert len([answer for answer in answers if isinstance(answer, str)]) == 2
        assert await slow.hash("tulip-anvil-rowing")


async def test_a_flood_of_new_passwords_leaves_the_login_slots() -> None:
    with held() as (slow, let_go):
        flood = [asyncio.ensure_future(slow.hash("tulip-anvil-rowing")) for _ in range(6)]
        logins = [asyncio.ensure_future(slow.verify(None, "tulip-anvil-rowing")) for _ in range(6)]
        await asyncio.wait(logins, return_when=asyncio.FIRST_COMPLETED)
        let_go()
        checked = await asyncio.gather(*logins, return_exceptions=True)
        assert [isinstance(answer, TooBusy) for answer in checked] == [False] * 4 + [True] * 2
        hashed = await asyncio.gather(*flood, return_exceptions=True)
        assert len([answer for answer in hashed if isinstance(answer, TooBusy)]) == 4


async def test_what_is_not_hashed_in_time_is_refused_and_its_slot_released(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.auth.passwords.MAX_SECONDS", 0.05)
    with held() as (slow, let_go):
        for _ in range(3):  # more than there are slots, one after the other
            with pytest.raises(TooBusy):
                await slow.hash("tulip-anvil-rowing")
        monkeypatch.setattr("services.auth.passwords.MAX_SECONDS", 60.0)
        let_go()
        assert await slow.hash("tulip-anvil-rowing")


async def test_a_hash_is_refused_at_the_time_of_its_call() -> None:
    with held() as (slow, _):
        with pytest.raises(TooBusy):
            await slow.hash("tulip-anvil-rowing", until=asyncio.get_running_loop().time())
        with pytest.raises(TooBusy):
            await slow.verify(None, "tulip-anvil-rowing", until=asyncio.get_running_loop().time())


async def test_a_hash_that_takes_too_long_keeps_its_slot_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.auth.passwords.MAX_SECONDS", 0.05)
    passwords, let_go = Passwords(memory_kib=64, cores=1, waiting_per_core=0), threading.Event()
    with pytest.raises(TooBusy):
        await passwords._run(passwords._login_slots, let_go.wait)
    assert not passwords._login_slots.acquire(blocking=False)
    let_go.set()
    assert await asyncio.to_thread(passwords._login_slots.acquire, timeout=60)
    passwords.close()


async def test_a_host_of_many_cores_hashes_four_passwords_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    passwords, let_go = Passwords(memory_kib=64, waiting_per_core=0), threading.Event()
    running = [asyncio.ensure_future(passwords._run(passwords._login_slots, let_go.wait)) for _ in range(4)]
    await asyncio.sleep(0)
    try:
        with pytest.raises(TooBusy):
            await passwords.verify(None, "tulip-anvil-rowing")
    finally:
        let_go.set()
        await asyncio.gather(*running)
        passwords.close()
