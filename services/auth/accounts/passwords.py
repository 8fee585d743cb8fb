"""Hashing of passwords with argon2id, in threads of its own and with a bounded queue.

One hash takes a core for about a tenth of a second and its memory besides: as many run at once as there are cores, and a
flood of logins is refused before it starves everything else. New passwords have half as many places, apart from those of
logins: a flood of new accounts keeps nobody out.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import argon2
from argon2.exceptions import VerifyMismatchError

from chassis import errors

PASSES = 2
LANES = 1
WAITING_PER_CORE = 16

T = TypeVar("T")


NICENESS = 10


def _stand_back() -> None:
    """Let every event loop of the machine go before the thread that calls this: whoever signs in waits for a while anyway.

    Linux keeps the priority of each thread apart; elsewhere it would be the whole process's, so it stays as it is.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class TooBusy(errors.ResourceExhausted):
    """Too many people sign in at this moment; try again in a second."""

    default_code = "too_busy"

    def __init__(self) -> None:
        super().__init__(details={"retry_after_seconds": "1"})


class Passwords:
    """Hashes and verifies passwords; `TooBusy` when too many wait already."""

    def __init__(self, *, memory_kib: int, cores: int | None = None, waiting_per_core: int = WAITING_PER_CORE) -> None:
        cores = cores or os.cpu_count() or 1
        self._hasher = argon2.PasswordHasher(
            time_cost=PASSES, memory_cost=memory_kib, parallelism=LANES, type=argon2.Type.ID
        )
        self._threads = ThreadPoolExecutor(max_workers=cores, thread_name_prefix="passwords", initializer=_stand_back)
        places = cores * (1 + waiting_per_core)
        self._places_for_logins = threading.BoundedSemaphore(places)
        self._places_for_new = threading.BoundedSemaphore((places + 1) // 2)
        # Verified for users that do not exist: the answer must take as long as a wrong password's.
        self._nobodys_hash = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """Give the hash to be stored."""
        return await self._run(self._places_for_new, lambda: self._hasher.hash(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Say whether `password` is the one of the `stored` hash; for None it never is, and takes as long to say so."""

        def matches() -> bool:
            try:
                return self._hasher.verify(stored or self._nobodys_hash, password) and stored is not None
            except VerifyMismatchError:
                return False

        return await self._run(self._places_for_logins, matches)

    def is_outdated(self, stored: str) -> bool:
        """Say whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """Let go of the threads; what waits is not hashed any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, places: threading.BoundedSemaphore, work: Callable[[], T]) -> T:
        if not places.acquire(blocking=False):
            raise TooBusy()
        future: Future[T] = self._threads.submit(work)
        # Not `finally`: work whose caller has gone keeps its thread, and so its place, until it is done.
        future.add_done_callback(lambda _: places.release())
        return await asyncio.wrap_future(future)
