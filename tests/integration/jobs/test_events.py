"""Events: one per transition, without gaps, in batches by kind."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import bus, errors, ids, outbox, run
from repruv.jobs.v1 import job_events_pb2
from services.jobs import domain, event_log, notifications, outcomes, schema
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.claim_calls import Eventually
from tests.integration.jobs.conftest import LEASE


async def test_every_transition_is_an_event_and_the_owners_sequence_has_no_gaps(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, owner_id: UUID
) -> None:
    created = await asyncio.gather(*(submit_job() for _ in range(10)))
    claimed = await jobs.claim(worker="w1", kinds=[kind], limit=6)
    await asyncio.gather(*(jobs.finish(job.job_id, 1, outcomes.Completed()) for job in claimed))
    waiting = {job.job_id for job in created} - {job.job_id for job in claimed}
    await asyncio.gather(*(jobs.cancel(job_id, owner_id=owner_id, reason="r") for job_id in waiting))
    raw, latest = await jobs.list_events(owner_id, after=0, limit=500)
    events = [job_events_pb2.JobEvent.FromString(event) for event in raw]
    assert [event.sequence for event in events] == list(range(1, 27))
    assert latest == 26
    versions: dict[str, int] = {}
    for event in events:
        assert event.job.version == versions.get(event.job.job_id, 0) + 1
        versions[event.job.job_id] = event.job.version
    published = [event for message in await published_messages(jobs_engine, kind) for event in message.events]
    assert {event.reason for event in published} == {"cancel_requested"}
    assert sorted(event.sequence for event in published) == [
        e.sequence for e in events if e.reason == "cancel_requested"
    ]


async def test_events_can_be_read_from_any_position_but_not_from_the_future(
    jobs: Operations, submit_job: jobs_helpers.Submit, owner_id: UUID
) -> None:
    for _ in range(3):
        await submit_job()
    raw, latest = await jobs.list_events(owner_id, after=2, limit=500)
    assert ([job_events_pb2.JobEvent.FromString(event).sequence for event in raw], latest) == ([3], 3)
    assert await jobs.list_events(owner_id, after=3, limit=500) == ([], 3)
    with pytest.raises(errors.OutOfRange) as excinfo:
        await jobs.list_events(owner_id, after=4, limit=500)
    assert excinfo.value.code == "cursor_unknown"


async def test_events_of_many_owners_are_read_together_and_cursors_are_independent(
    jobs: Operations, jobs_engine: AsyncEngine, spec: jobs_helpers.MakeSpec, owner_id: UUID
) -> None:
    other, strange, holed = uuid4(), uuid4(), uuid4()
    owners = [owner_id] * 3 + [other] * 2 + [holed] * 3
    await jobs.submit_many([(ids.uuid7(), spec(owner_id=item)) for item in owners])
    async with jobs_engine.begin() as conn:
        events = schema.job_events.c
        await conn.execute(sa.delete(schema.job_events).where(events.owner_id == holed, events.sequence == 2))
    cursors = [(owner_id, 0), (other, 2), (owner_id, 2), (strange, 0), (strange, 1), (holed, 0), (holed, 1), (other, 3)]
    pages = await jobs.pages(cursors, limit=2)
    assert [_summary(page) for page in pages] == [
        ([1, 2], 3),
        ([], 2),
        ([3], 3),
        ([], 0),
        "cursor_unknown",
        ([1], 3),
        "cursor_unknown",
        "cursor_unknown",
    ]


async def test_response_with_events_of_many_owners_is_bounded_and_names_the_omitted(
    jobs: Operations, jobs_engine: AsyncEngine, spec: jobs_helpers.MakeSpec
) -> None:
    owners = [uuid4() for _ in range(3)]
    await jobs.submit_many([(ids.uuid7(), spec(owner_id=item)) for item in owners for _ in range(2)])
    cursors = [(item, 0) for item in owners]
    async with jobs_engine.connect() as conn:
        (whole,) = await event_log.pages(conn, cursors[:1], limit=500, size=1 << 20)
        assert isinstance(whole, event_log.Page)
        first, second = map(len, whole.events)
        progressed = {
            size: [_summary(page) for page in await event_log.pages(conn, cursors, limit=500, size=size)]
            for size in (1, first, first + second, first + second + first)
        }
    assert progressed == {
        1: [([1], 2)],  # never empty, so that each request makes progress
        first: [([1], 2)],
        first + second: [([1, 2], 2)],
        first + second + first: [([1, 2], 2), ([1], 2)],
    }


def _summary(page: event_log.Page | errors.Error) -> tuple[list[int], int] | str:
    if isinstance(page, errors.Error):
        return page.code
    return [job_events_pb2.JobEvent.FromString(event).sequence for event in page.events], page.latest


async def published_messages(engine: AsyncEngine, kind: str) -> list[job_events_pb2.JobEvents]:
    """Read the messages of a kind in the outbox."""
    async with engine.connect() as conn:
        messages = sa.select(schema.outbox.c.payload).where(schema.outbox.c.subject == f"jobs.events.{kind}")
        payloads = (await conn.execute(messages)).scalars().all()
    return [job_events_pb2.JobEvents.FromString(payload) for payload in payloads]


class Broadcasts:
    """A replica that is connected to NATS, and the events that subscribers receive."""

    def __init__(self, jobs: Operations) -> None:
        self.jobs = jobs
        self.messages: dict[UUID, list[job_events_pb2.JobEvents]] = defaultdict(list)

    async def receive(self, message: bus.Received) -> None:
        """Keep a message under its owner."""
        owner_id = UUID(message.subject.removeprefix("jobs.live_events."))
        self.messages[owner_id].append(job_events_pb2.JobEvents.FromString(message.payload))

    def events(self, owner_id: UUID) -> list[job_events_pb2.JobEvent]:
        """Return the received events of an owner."""
        return [event for message in self.messages[owner_id] for event in message.events]


@pytest.fixture
async def broadcasts(jobs_engine: AsyncEngine, nats_url: str, eventually: Eventually) -> AsyncIterator[Broadcasts]:
    """Yield a replica whose broadcasts arrive."""
    nats = bus.Bus(nats_url, name="test-broadcasts")
    received = Broadcasts(Operations(jobs_engine, outbox.Relay(jobs_engine, schema.outbox, {}), nats, lease=LEASE))
    nats.subscribe("jobs.live_events.*", received.receive)
    connected = asyncio.Event()
    nats.on_connected(connected.set)
    async with run.Background() as background:
        background.start("bus", nats.run)
        async with asyncio.timeout(60):
            await connected.wait()
        yield received


async def test_job_that_goes_well_is_broadcast_and_publishes_nothing(
    broadcasts: Broadcasts,
    jobs_engine: AsyncEngine,
    spec: jobs_helpers.MakeSpec,
    kind: str,
    owner_id: UUID,
    eventually: Eventually,
) -> None:
    jobs = broadcasts.jobs
    await jobs.submit(job_id := ids.uuid7(), spec())
    await jobs.claim(worker="w1", kinds=[kind], limit=1)
    await jobs.finish(job_id, 1, outcomes.Completed())

    async def all_arrived() -> bool:
        return len(broadcasts.events(owner_id)) == 3

    await eventually(all_arrived)
    reasons = {event.sequence: event.reason for event in broadcasts.events(owner_id)}
    assert reasons == {1: "submitted", 2: "claimed", 3: "completed"}
    assert await published_messages(jobs_engine, kind) == []


async def test_all_other_events_are_broadcast_and_published(
    broadcasts: Broadcasts,
    jobs_engine: AsyncEngine,
    spec: jobs_helpers.MakeSpec,
    kind: str,
    owner_id: UUID,
    eventually: Eventually,
) -> None:
    jobs = broadcasts.jobs
    job, _ = await jobs.submit(ids.uuid7(), spec(max_attempts=1))
    for attempt in (1, 2):
        await jobs.claim(worker="w1", kinds=[kind], limit=1)
        failed = outcomes.Failed(error=domain.JobError(code="broken", message="It broke."), retryable=False)
        await jobs.finish(job.job_id, attempt, failed)
        await jobs.retry(job.job_id, owner_id=owner_id)
    await jobs.cancel(job.job_id, owner_id=owner_id, reason="r")
    published = [event for message in await published_messages(jobs_engine, kind) for event in message.events]
    reasons = [event.reason for event in sorted(published, key=lambda event: event.sequence)]
    # Not among them: the submit and the first claim.
    assert reasons == ["failed", "retried", "claimed", "failed", "retried", "cancel_requested"]

    async def all_arrived() -> bool:
        return len(broadcasts.events(owner_id)) == 8

    await eventually(all_arrived)
    assert {event.sequence for event in broadcasts.events(owner_id)} == set(range(1, 9))


@pytest.mark.parametrize(
    ("seconds", "notifies", "ending", "published"),
    [
        (60, True, "complete", 1),
        (60, True, "fail", 1),
        (60, True, "cancel", 0),
        (45, True, "complete", 0),  # a busy machine takes seconds from here to the end
        (60, False, "fail", 0),
    ],
)
async def test_end_of_a_long_notifying_job_is_published(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    spec: jobs_helpers.MakeSpec,
    kind: str,
    owner_id: UUID,
    seconds: int,
    notifies: bool,
    ending: str,
    published: int,
) -> None:
    job, _ = await jobs.submit(ids.uuid7(), spec(max_attempts=1, notify_owner=notifies))
    await jobs.claim(worker="w1", kinds=[kind], limit=1)
    async with jobs_engine.begin() as conn:
        started = schema.jobs.c.started_at - timedelta(seconds=seconds)
        await conn.execute(sa.update(schema.jobs).where(schema.jobs.c.job_id == job.job_id).values(started_at=started))
    if ending == "cancel":
        await jobs.cancel(job.job_id, owner_id=owner_id, reason="r")
    ends: dict[str, outcomes.Outcome] = {
        "complete": outcomes.Completed(),
        "fail": jobs_helpers.FINAL,
        "cancel": outcomes.Cancelled(reason="r"),
    }
    await jobs.finish(job.job_id, 1, ends[ending])
    messages = await published_messages(jobs_engine, "notifications.long_ended")
    events = [event for message in messages for event in message.events if event.owner_id == str(owner_id)]
    assert [event.job.job_id for event in events] == [str(job.job_id)] * published


async def test_transitions_of_one_transaction_are_one_broadcast_per_owner_and_one_message_per_kind(
    broadcasts: Broadcasts,
    jobs_engine: AsyncEngine,
    spec: jobs_helpers.MakeSpec,
    kind: str,
    owner_id: UUID,
    eventually: Eventually,
) -> None:
    jobs, other, stranger = broadcasts.jobs, f"{kind}.other", uuid4()
    submits = [(ids.uuid7(), spec(kind=item, owner_id=stranger)) for item in (kind, other)]
    submits += [(ids.uuid7(), spec()) for _ in range(20)]
    await jobs.submit_many(submits)

    async def both_arrived() -> bool:
        return bool(broadcasts.events(owner_id) and broadcasts.events(stranger))

    await eventually(both_arrived)
    (message,), (beside,) = broadcasts.messages[owner_id], broadcasts.messages[stranger]
    assert len(message.events) == 20
    assert len(beside.events) == 2
    async with jobs.transaction() as tx:
        for job_id, _ in submits:
            await tx.cancel(await jobs.get(job_id, owner_id=None), "r")
    (message,), (beside,) = [await published_messages(jobs_engine, item) for item in (kind, other)]
    assert len(message.events) == 21
    assert len(beside.events) == 1


async def test_message_keeps_the_order_of_each_owners_events(
    broadcasts: Broadcasts, spec: jobs_helpers.MakeSpec, kind: str, owner_id: UUID, eventually: Eventually
) -> None:
    jobs = broadcasts.jobs
    owners = [owner_id, uuid4()]
    created = [ids.uuid7() for _ in range(12)][::-1]
    await jobs.submit_many([(job_id, spec(owner_id=owners[n % 2], priority=n % 5)) for n, job_id in enumerate(created)])
    await jobs.claim(worker="w1", kinds=[kind], limit=12)
    results = await jobs.finish_many([(job_id, 1, outcomes.Completed()) for job_id in created[3:] + created[:3]])
    assert all(isinstance(result, domain.Job) for result in results)

    async def all_arrived() -> bool:
        return all(len(broadcasts.events(item)) == 18 for item in owners)

    await eventually(all_arrived)
    for item in owners:
        for message in broadcasts.messages[item]:
            sequences = [event.sequence for event in message.events]
            assert sequences == list(range(sequences[0], sequences[0] + 6))
            assert {event.owner_id for event in message.events} == {str(item)}


async def test_large_payload_or_result_is_readable_but_not_published(
    broadcasts: Broadcasts, spec: jobs_helpers.MakeSpec, kind: str, owner_id: UUID, eventually: Eventually
) -> None:
    jobs = broadcasts.jobs
    large, small = {"text": "x" * 20_000}, {"n": 1}
    (job, _), (beside, _) = [await jobs.submit(ids.uuid7(), spec(payload=payload)) for payload in (large, small)]
    await jobs.claim(worker="w1", kinds=[kind], limit=2)
    await jobs.finish(job.job_id, 1, outcomes.Completed(result=large))
    await jobs.finish(beside.job_id, 1, outcomes.Completed(result=small))

    async def all_arrived() -> bool:
        return len(broadcasts.events(owner_id)) == 6

    await eventually(all_arrived)
    stored, _ = await jobs.list_events(owner_id, after=0, limit=500)
    events = [job_events_pb2.JobEvent.FromString(event) for event in stored] + broadcasts.events(owner_id)
    for event in events:
        is_large = event.job.job_id == str(job.job_id)
        assert event.job.spec.HasField("payload") is not is_large
        if event.job.finish_time.seconds:
            assert event.job.HasField("result") is not is_large
    progressed = await jobs.get(job.job_id, owner_id=None)
    assert (progressed.spec.payload, progressed.result) == (large, large)


async def test_messages_stay_within_the_size_limit(
    jobs: Operations, jobs_engine: AsyncEngine, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    payload = {"text": "x" * 15_000}
    specs = [(ids.uuid7(), spec(payload=payload)) for _ in range(40)]
    await jobs.submit_many(specs)
    async with jobs.transaction() as tx:
        for job_id, _ in specs:
            await tx.cancel(await jobs.get(job_id, owner_id=None), "r")
    messages = await published_messages(jobs_engine, kind)
    assert sum(len(message.events) for message in messages) == 40
    assert len(messages) > 1
    assert all(message.ByteSize() < 128 * 1024 for message in messages)


async def test_rolled_back_change_publishes_nothing(
    jobs: Operations, jobs_engine: AsyncEngine, spec: jobs_helpers.MakeSpec, kind: str, owner_id: UUID
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with jobs.transaction() as tx:
            await tx.submit([(ids.uuid7(), spec())])
            raise ZeroDivisionError
    assert await published_messages(jobs_engine, kind) == []
    assert await jobs.last_sequences([owner_id]) == {}


async def test_a_retry_makes_a_notification_unread_again(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, owner_id: UUID
) -> None:
    unread = notifications.Notifications(jobs_engine, bus.Bus("", name="test"))
    job = await submit_job(notify_owner=True, max_attempts=1)

    async def listed() -> list[UUID]:
        return [item.job_id for item in (await unread.list_page(owner_id, page_size=10, page_token="")).jobs]

    for attempt in (1, 2):
        await jobs_helpers.claim_one(jobs, kind)
        assert await listed() == []
        await jobs.finish(job.job_id, attempt, jobs_helpers.ERROR)
        assert await listed() == [job.job_id]
        await unread.mark_read(owner_id, [job.job_id])
        assert await listed() == []
        if attempt == 1:
            await jobs.retry(job.job_id, owner_id=None)


async def test_events_that_a_failover_lost_make_cursors_unknown(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, owner_id: UUID
) -> None:
    """The new history must not continue under the sequences of lost events: readers would keep events that never happened."""
    for _ in range(3):
        await submit_job()
    async with jobs_engine.begin() as conn:
        # As on a standby that had not received the last event.
        parameters = {"owner_id": owner_id}
        lost = "DELETE FROM jobs.job_events WHERE owner_id = :owner_id AND sequence = 3"
        await conn.execute(sa.text(lost), parameters)
        former = "UPDATE jobs.owners SET last_sequence = 2, timeline = '00000000' WHERE owner_id = :owner_id"
        await conn.execute(sa.text(former), parameters)
    with pytest.raises(errors.OutOfRange):
        await jobs.list_events(owner_id, after=3, limit=10)
    for _ in range(2):
        await submit_job()
    for cursor in (2, 3):
        with pytest.raises(errors.OutOfRange) as excinfo:
            await jobs.list_events(owner_id, after=cursor, limit=10)
        assert excinfo.value.code == "cursor_unknown"
    newest = (await jobs.last_sequences([owner_id]))[owner_id]
    events, latest = await jobs.list_events(owner_id, after=newest - 2, limit=10)
    assert (len(events), latest) == (2, newest)
    await submit_job()
    assert (await jobs.last_sequences([owner_id]))[owner_id] == newest + 1, "once per failover"
