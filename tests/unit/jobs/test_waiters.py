"""Wake-ups of waiting calls."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from chassis import bus
from repruv.jobs.v1 import job_events_pb2
from services.jobs.claims import waiters

LONG = 10.0


class Room:
    """A replica's waiters, and the wake-ups it sends to others."""

    def __init__(self) -> None:
        self.wakeups: list[tuple[str, int]] = []
        self.waiters = waiters.Waiters(self._tell)
        self.woken: list[str] = []

    def _tell(self, subject: str, message: job_events_pb2.JobSubmitted) -> None:
        assert subject == f"jobs.wake.{message.kind}"
        self.wakeups.append((message.kind, message.jobs))

    def come(self, name: str, kinds: Collection[str], claims: Collection[str], *, limit: int = 1) -> asyncio.Task[None]:
        """Wait, and claim jobs of these kinds when woken; the first claim found none."""

        async def wait() -> None:
            with self.waiters.register(kinds, limit, name) as waiter:
                waiter.record_claim([], limited=True)
                assert await waiter.wait(asyncio.get_running_loop().time() + LONG)
                self.woken.append(name)
                waiter.record_claim(list(claims), limited=False)

        return asyncio.create_task(wait())


async def rested() -> None:
    """Let all calls become idle."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_only_needed_calls_are_woken_and_the_rest_is_broadcast() -> None:
    room = Room()
    first, second, third = (room.come(name, ["k"], ["k", "k"], limit=2) for name in "abc")
    await rested()
    room.waiters.wake("k", 3)
    await asyncio.gather(first, second)
    assert (room.woken, third.done()) == (["a", "b"], False)
    # What the second was promised and got twice is nobody's any more.
    assert room.wakeups == []
    room.waiters.wake("k", 5)
    await third
    assert room.wakeups == [("k", 3)]


async def test_call_that_got_another_job_passes_its_wake_up_on() -> None:
    room = Room()
    for_both = room.come("both", ["j", "k"], ["j"])
    await rested()
    only = room.come("only", ["k"], ["k"])
    await rested()
    room.waiters.wake("k", 1)
    await asyncio.gather(for_both, only)
    assert room.woken == ["both", "only"]


async def test_cancelled_call_passes_its_wake_up_on() -> None:
    room = Room()
    leaving = room.come("leaving", ["k"], [])
    await rested()
    room.waiters.wake("k", 1)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert (room.woken, room.wakeups, room.waiters.count) == ([], [("k", 1)], 0)


async def test_wake_up_during_a_claim_repeats_the_claim() -> None:
    room = Room()
    with room.waiters.register(["k"], 1, "w") as waiter:
        assert await waiter.wait(0.0)
        room.waiters.wake("k", 1)
        waiter.record_claim([], limited=False)
        async with asyncio.timeout(LONG):
            assert await waiter.wait(asyncio.get_running_loop().time() + 10 * LONG)
    assert "k" not in room.waiters.drained


async def test_drained_kind_is_not_claimed_until_a_wake_up() -> None:
    room = Room()
    with room.waiters.register(["k"], 2, "w") as waiter:
        assert await waiter.wait(0.0)
        waiter.record_claim(["k"], limited=False)
    next_one = asyncio.create_task(_turn(room, "k"))
    await rested()
    assert not next_one.done()
    room.waiters.wake_here("k")
    assert await next_one
    assert room.wakeups == []


async def test_echo_of_an_own_wake_up_wakes_no_call() -> None:
    room = Room()
    waiting = room.come("a", ["k"], ["k"])
    await rested()
    messages: list[job_events_pb2.JobSubmitted] = []
    ringing = waiters.Waiters(lambda _, message: messages.append(message))
    ringing.wake("k", 1)
    ringing.mark_drained(["k"])
    received = bus.Received(subject="jobs.wake.k", payload=messages[0].SerializeToString(), message_id="")
    await ringing.on_wakeup(received)
    assert "k" in ringing.drained
    await room.waiters.on_wakeup(received)
    await waiting


async def test_stop_ends_current_and_later_waits() -> None:
    room = Room()
    with room.waiters.register(["k"], 1, "w") as waiter:
        waiter.record_claim([], limited=True)
        resting = asyncio.create_task(waiter.wait(asyncio.get_running_loop().time() + LONG))
        await rested()
        room.waiters.stop()
        assert not await resting
        assert not await waiter.wait(asyncio.get_running_loop().time() + LONG)
    assert not room.waiters.has_room


async def _turn(room: Room, kind: str) -> bool:
    with room.waiters.register([kind], 1, "w") as waiter:
        woken = await waiter.wait(asyncio.get_running_loop().time() + LONG)
        waiter.record_claim([kind], limited=False)
        return woken


async def test_earlier_call_of_a_worker_that_lost_a_lease_gets_no_job() -> None:
    room = Room()
    with room.waiters.register(["k"], 1, "frozen") as frozen, room.waiters.register(["k"], 1, "lives") as lives:
        for waiter in (frozen, lives):
            waiter.record_claim([], limited=True)
        ends_at = asyncio.get_running_loop().time() + LONG
        turns = [asyncio.create_task(waiter.wait(ends_at)) for waiter in (frozen, lives)]
        await rested()
        room.waiters.evict({"frozen"})
        room.waiters.wake("k", 1)
        assert await asyncio.gather(*turns) == [False, True]
        assert (frozen.reserved.total(), lives.reserved.total()) == (0, 1)
        lives.record_claim(["k"], limited=False)
    assert room.wakeups == []
