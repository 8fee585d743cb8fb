"""Password hashing with argon2id in a thread pool of its own with a bounded queue.

One hash occupies a core for about 0.1 s, and its memory. As many run at once as there are cores, and a flood of sign-ins is
refused before it starves everything else. A password that is not hashed in time is refused too: its caller would get no answer.
New passwords have a separate queue of half the length, so that a flood of registrations does not block sign-in.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import argon2
from argon2.exceptions import VerifyMismatchError

from chassis import errors

PASSES = 2
LANES = 1
WAITING_PER_CORE = 16
MAX_SECONDS = 2.0
"""The longest wait of a call for its hashes, from the request of the first; calls of the gateway end after three seconds."""
MAX_CORES = 4
"""A container sees all cores of its host: without a bound a host of 64 cores would hash 64 passwords at once, in 4 GiB."""
BCRYPT_BYTES = 72

T = TypeVar("T")

NICENESS = 10


def _lower_priority() -> None:
    """Lower the priority of the calling thread below all event loops of the machine.

    Linux has a priority per thread; elsewhere it would apply to the whole process, so it stays unchanged.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _normalize(password: str) -> str:
    """Return one form of characters that keyboards compose differently, for example é (SP 800-63B, 3.1.1.2)."""
    return unicodedata.normalize("NFC", password)


def _is_bcrypt(password_hash: str) -> bool:
    """Return whether a hash is of an account that was imported and has not signed in since."""
    return password_hash.startswith("$2")


def _matches_bcrypt(password_hash: str, password: str) -> bool:
    """Return whether a password matches a hash of the old system, which hashed the password as typed."""
    import bcrypt  # only processes that verify such a hash need it

    # bcrypt reads 72 bytes. The library refuses more; the old system ignored the rest.
    forms = dict.fromkeys(form.encode()[:BCRYPT_BYTES] for form in (password, _normalize(password)))
    try:
        return any(bcrypt.checkpw(form, password_hash.encode()) for form in forms)
    except ValueError:  # the hash has the form of one, but an impossible salt
        return False


class TooBusy(errors.ResourceExhausted):
    """The server is too busy to check passwords at this moment. Try again in a second."""

    default_code = "too_busy"

    def __init__(self) -> None:
        super().__init__(details={"retry_after_seconds": "1"})


def deadline() -> float:
    """Return until when a call waits for its hashes, by the clock of the event loop, if it begins with them now."""
    return asyncio.get_running_loop().time() + MAX_SECONDS


class Passwords:
    """Hashes and verifies passwords.

    Methods raise `TooBusy` when the queue is full, and at `until`, `deadline()` by default. A call with several hashes passes the
    same `until` to all: otherwise it would end before it could be refused.
    """

    def __init__(self, *, memory_kib: int, cores: int | None = None, waiting_per_core: int = WAITING_PER_CORE) -> None:
        cores = cores or min(os.cpu_count() or 1, MAX_CORES)
        self._hasher = argon2.PasswordHasher(
            time_cost=PASSES, memory_cost=memory_kib, parallelism=LANES, type=argon2.Type.ID
        )
        self._threads = ThreadPoolExecutor(
            max_workers=cores, thread_name_prefix="passwords", initializer=_lower_priority
        )
        capacity = cores * (1 + waiting_per_core)
        self._login_slots = threading.BoundedSemaphore(capacity)
        self._new_password_slots = threading.BoundedSemaphore((capacity + 1) // 2)
        # Verified for unknown users: the response must take as long as for a wrong password.
        self._dummy_hash = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str, *, until: float | None = None) -> str:
        return await self._run(self._new_password_slots, lambda: self._hasher.hash(_normalize(password)), until)

    async def verify(self, password_hash: str | None, password: str, *, until: float | None = None) -> bool:
        """Return whether a password matches a hash; for None it never does and takes as long."""

        def matches() -> bool:
            if password_hash and _is_bcrypt(password_hash):
                return _matches_bcrypt(password_hash, password)
            try:
                return self._hasher.verify(password_hash or self._dummy_hash, _normalize(password)) and bool(
                    password_hash
                )
            except VerifyMismatchError:
                return False

        return await self._run(self._login_slots, matches, until)

    def is_outdated(self, password_hash: str) -> bool:
        """Return whether a hash has other than the current algorithm and parameters."""
        return _is_bcrypt(password_hash) or self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        """Stop the threads; queued work is cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, slots: threading.BoundedSemaphore, work: Callable[[], T], until: float | None = None) -> T:
        if not slots.acquire(blocking=False):
            raise TooBusy()
        future: Future[T] = self._threads.submit(work)
        # Not in `finally`: work of a cancelled caller keeps its thread, and so its slot, until it is done.
        future.add_done_callback(lambda _: slots.release())
        try:
            async with asyncio.timeout_at(deadline() if until is None else until):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise TooBusy() from None
