"""The whole service end to end: gRPC, NATS, the real jobs service, a real worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

import pytest

import worker
from chassis import errors, identity
from chassis.rpc import client
from dev import subprocesses
from repruv.demo.v1 import (
    demo_pb2,
    demo_service_pb2,
    demo_service_pb2_grpc,
    exports_service_pb2,
    exports_service_pb2_grpc,
)
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from services.demo import __main__ as service
from services.demo import servicer
from services.demo.exports import servicer as exports_servicer
from services.demo.settings import Settings, WorkerSettings

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
Signers = Callable[[str], identity.Signer]

TIMEOUT = 60.0


@pytest.fixture(scope="session")
def services_database(create_database: Callable[[], Callable[[str], str]]) -> Callable[[str], str]:
    """Return the URLs of a database for the whole service: in the shared one it would send and settle what other tests store."""
    return create_database()


@pytest.fixture(scope="session")
async def demo_target(
    services_database: Callable[[str], str],
    nats_url: str,
    seeds: dict[str, str],
    trusted_identity_keys: str,
    jobs_target: str,
) -> AsyncIterator[str]:
    """The demo service beside the real jobs service; return its gRPC target."""
    target = f"127.0.0.1:{subprocesses.free_port()}"
    config = Settings(
        listen=target,
        database_url=services_database("demo"),
        nats_url=nats_url,
        identity_key=seeds["demo"],
        trusted_identity_keys=trusted_identity_keys,
        jobs_target=jobs_target,
    )
    stop = asyncio.Event()
    serving = asyncio.create_task(service.serve(config, stop))
    yield target
    stop.set()
    await serving


@pytest.fixture(scope="session")
def worker_settings(
    services_database: Callable[[str], str],
    nats_url: str,
    seeds: dict[str, str],
    trusted_identity_keys: str,
    jobs_target: str,
) -> WorkerSettings:
    """Settings of a demo worker."""
    return WorkerSettings(
        database_url=services_database("demo"),
        nats_url=nats_url,
        identity_key=seeds["demo"],
        trusted_identity_keys=trusted_identity_keys,
        jobs_target=jobs_target,
    )


@asynccontextmanager
async def working(config: WorkerSettings) -> AsyncIterator[None]:
    """A demo worker."""
    stop = asyncio.Event()
    runs = asyncio.create_task(service.work(config, stop))
    try:
        yield
    finally:
        stop.set()
        await runs


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user who calls through the gateway."""

    demo: demo_service_pb2_grpc.DemoServiceAsyncStub
    jobs: jobs_service_pb2_grpc.JobsServiceAsyncStub
    call: client.Caller
    token: str

    async def enable(self, **arguments: object) -> demo_service_pb2.EnableDemoResponse:
        request = demo_service_pb2.EnableDemoRequest(**arguments)  # type: ignore[arg-type]
        return await self.call(self.demo.EnableDemo, request, timeout=TIMEOUT, user_token=self.token)

    async def disable(self) -> demo_service_pb2.DisableDemoResponse:
        request = demo_service_pb2.DisableDemoRequest()
        return await self.call(self.demo.DisableDemo, request, timeout=TIMEOUT, user_token=self.token)

    async def get(self) -> demo_service_pb2.GetDemoResponse:
        request = demo_service_pb2.GetDemoRequest()
        return await self.call(self.demo.GetDemo, request, timeout=TIMEOUT, user_token=self.token)

    async def cancel(self, job_id: str) -> None:
        request = jobs_service_pb2.CancelJobRequest(job_id=job_id)
        await self.call(self.jobs.CancelJob, request, timeout=TIMEOUT, user_token=self.token)

    async def retry(self, job_id: str) -> None:
        request = jobs_service_pb2.RetryJobRequest(job_id=job_id)
        await self.call(self.jobs.RetryJob, request, timeout=TIMEOUT, user_token=self.token)

    async def job(self, job_id: str) -> job_pb2.Job:
        request = jobs_service_pb2.GetJobRequest(job_id=job_id)
        return (await self.call(self.jobs.GetJob, request, timeout=TIMEOUT, user_token=self.token)).job

    def state(self, state: demo_pb2.DemoState.ValueType) -> Callable[[], Awaitable[bool]]:
        async def reached() -> bool:
            return (await self.get()).demo.state == state

        return reached

    def job_state(self, job_id: str, state: job_pb2.JobState.ValueType) -> Callable[[], Awaitable[bool]]:
        async def reached() -> bool:
            try:
                return (await self.job(job_id)).state == state
            except errors.NotFound:
                return False  # in transition

        return reached


@pytest.fixture
async def make_user(demo_target: str, jobs_target: str, signer: Signers) -> AsyncIterator[Callable[..., User]]:
    """Make a new user."""
    channel = client.channel(demo_target, service=servicer.SERVICE)
    jobs_channel = worker.client.channel(jobs_target)

    def make(*, can_access_dashboard: bool = True) -> User:
        user = identity.User(
            user_id=str(uuid4()),
            role="user",
            session_id=str(uuid4()),
            can_access_dashboard=can_access_dashboard,
        )
        return User(
            demo=demo_service_pb2_grpc.DemoServiceStub(channel),
            jobs=jobs_service_pb2_grpc.JobsServiceStub(jobs_channel),
            call=client.Caller(signer("gateway")),
            token=signer("auth").user_token(user)[0],
        )

    yield make
    await channel.close()
    await jobs_channel.close()


@pytest.fixture
def user(make_user: Callable[..., User]) -> User:
    """A new user."""
    return make_user()


@pytest.mark.parametrize(
    ("rpc", "fields"),
    [("GetDashboard", {}), ("ListContent", {}), ("ListInteractions", {}), ("GetDemo", {"arriving_count": 1})],
)
async def test_dashboard_requires_a_verified_address(
    make_user: Callable[..., User], rpc: str, fields: dict[str, int]
) -> None:
    user = make_user(can_access_dashboard=False)
    request = getattr(demo_service_pb2, f"{rpc}Request")(**fields)
    with pytest.raises(errors.PermissionDenied) as excinfo:
        await user.call(getattr(user.demo, rpc), request, timeout=TIMEOUT, user_token=user.token)
    assert excinfo.value.code == "email_unverified"
    await user.get()


async def test_enable_and_disable_from_end_to_end(
    user: User, worker_settings: WorkerSettings, eventually: Eventually
) -> None:
    accepted = await user.enable(profile_type="brand", niche="travel", content_count=20, interaction_count=1_234)
    assert accepted.demo.state == demo_pb2.DEMO_STATE_ENABLING
    async with working(worker_settings):
        await eventually(user.state(demo_pb2.DEMO_STATE_ENABLED))
        await eventually(user.job_state(accepted.job_id, job_pb2.JOB_STATE_COMPLETED))
        demo = (await user.get()).demo
        assert (demo.stats.content_written, demo.stats.interactions_written) == (20, 1_234)
        assert demo.profile.handle.startswith("@")
        job = await user.job(accepted.job_id)
        assert job.progress.done == job.progress.total == 1_234
        removing = await user.disable()
        await eventually(user.state(demo_pb2.DEMO_STATE_DISABLED))
        await eventually(user.job_state(removing.job_id, job_pb2.JOB_STATE_COMPLETED))
    result = dict((await user.job(removing.job_id)).result)
    assert result == {"content_removed": 20.0, "interactions_removed": 1_234.0}


async def test_a_job_that_fails_can_be_retried(
    user: User, worker_settings: WorkerSettings, eventually: Eventually
) -> None:
    accepted = await user.enable(content_count=3, interaction_count=50)
    async with working(replace(worker_settings, demo_fail_handlers="enable")):
        await eventually(user.job_state(accepted.job_id, job_pb2.JOB_STATE_FAILED))
    await eventually(user.state(demo_pb2.DEMO_STATE_FAILED))
    failed = await user.get()
    assert failed.demo.error.code == failed.job.error.code == "demo_handler_failed"
    assert failed.job.attempt == 3
    await user.retry(accepted.job_id)
    await eventually(user.state(demo_pb2.DEMO_STATE_ENABLING))
    async with working(worker_settings):
        await eventually(user.state(demo_pb2.DEMO_STATE_ENABLED))


async def test_a_running_job_can_be_cancelled(
    user: User, worker_settings: WorkerSettings, eventually: Eventually
) -> None:
    accepted = await user.enable(content_count=3, interaction_count=20_000)

    async def has_begun() -> bool:
        return (await user.get()).demo.stats.interactions_written > 0

    async with working(replace(worker_settings, demo_batch_pause_ms=50)):
        await eventually(has_begun)
        await user.cancel(accepted.job_id)
        await eventually(user.state(demo_pb2.DEMO_STATE_DISABLED))
        await eventually(user.job_state(accepted.job_id, job_pb2.JOB_STATE_CANCELLED))
    assert (await user.job(accepted.job_id)).cancel_reason == "requested"


async def test_job_cancelled_before_it_ran_is_settled_through_nats(
    user: User, eventually: Eventually, engine: object
) -> None:
    accepted = await user.enable()
    await eventually(user.job_state(accepted.job_id, job_pb2.JOB_STATE_PENDING))
    await user.cancel(accepted.job_id)
    # Not GetDemo, which would repair the state: an enable is accepted once the event has arrived.
    answers: list[str] = []

    async def enabled_again() -> bool:
        try:
            return bool((await user.enable()).job_id)
        except errors.FailedPrecondition as error:
            answers.append(error.code)
            return False

    await eventually(enabled_again)
    assert set(answers) <= {"demo_enabling"}


async def test_lists_and_dashboard_through_grpc(
    user: User, worker_settings: WorkerSettings, eventually: Eventually
) -> None:
    await user.enable(profile_type="local_business", niche="food", content_count=5, interaction_count=60)
    async with working(worker_settings):
        await eventually(user.state(demo_pb2.DEMO_STATE_ENABLED))
    numbers = await user.call(
        user.demo.GetDashboard, demo_service_pb2.GetDashboardRequest(), timeout=TIMEOUT, user_token=user.token
    )
    assert (numbers.demo, numbers.content_count, numbers.interaction_count) == (True, 5, 60)
    assert len(numbers.interactions_per_day) == 30
    longer = await user.call(
        user.demo.GetDashboard, demo_service_pb2.GetDashboardRequest(days=500), timeout=TIMEOUT, user_token=user.token
    )
    assert list(longer.interactions_per_day[-30:]) == list(numbers.interactions_per_day)
    assert len(longer.interactions_per_day) == 180
    busy = max(longer.interactions_per_day, key=lambda day: day.count)
    of_day = await user.call(
        user.demo.ListInteractions,
        demo_service_pb2.ListInteractionsRequest(date=busy.date, page_size=100),
        timeout=TIMEOUT,
        user_token=user.token,
    )
    days = {row.occur_time.ToDatetime().date().isoformat() for row in of_day.interactions}
    assert (days, len(of_day.interactions)) == ({busy.date}, busy.count)
    content = await user.call(
        user.demo.ListContent, demo_service_pb2.ListContentRequest(), timeout=TIMEOUT, user_token=user.token
    )
    assert sum(item.interaction_count for item in content.content) == 60
    busiest = max(content.content, key=lambda item: item.interaction_count)
    page = await user.call(
        user.demo.ListInteractions,
        demo_service_pb2.ListInteractionsRequest(content_id=busiest.content_id, page_size=100),
        timeout=TIMEOUT,
        user_token=user.token,
    )
    assert len(page.interactions) == busiest.interaction_count
    for row in page.interactions:
        assert (row.content_id, row.content_title) == (busiest.content_id, busiest.title)
        assert row.author_handle.startswith("@")
        assert row.HasField("rating") == (row.kind == "review")
        assert bool(row.reply_text) == row.replied
        assert row.needs_reply == (row.sentiment == "negative" and not row.replied)


async def test_users_change_only_their_own_demo_mode(make_user: Callable[..., User]) -> None:
    first, second = make_user(), make_user()
    await first.enable()
    assert (await second.get()).demo.state == demo_pb2.DEMO_STATE_DISABLED
    assert (await second.get()).demo.version == 0


async def test_every_rpc_needs_a_user(user: User) -> None:
    methods = [
        (user.demo.EnableDemo, demo_service_pb2.EnableDemoRequest()),
        (user.demo.DisableDemo, demo_service_pb2.DisableDemoRequest()),
        (user.demo.DismissDemo, demo_service_pb2.DismissDemoRequest()),
        (user.demo.GetDemo, demo_service_pb2.GetDemoRequest()),
        (user.demo.GetDashboard, demo_service_pb2.GetDashboardRequest()),
        (user.demo.ListContent, demo_service_pb2.ListContentRequest()),
        (user.demo.ListInteractions, demo_service_pb2.ListInteractionsRequest()),
        (user.demo.PreviewDemo, demo_service_pb2.PreviewDemoRequest()),
    ]
    # auth reads the rows of an owner for a data export, when no user is there.
    assert len(methods) == len(servicer.CALLERS.keys() - {"StreamOwnerRows"})
    for method, request in methods:
        with pytest.raises(errors.Unauthenticated):
            await user.call(method, request, timeout=TIMEOUT, user_token="")  # type: ignore[arg-type]


async def test_auth_may_only_read_the_state_of_demo_mode(user: User, signer: Signers) -> None:
    auth = replace(user, call=client.Caller(signer("auth")))
    assert (await auth.get()).demo.state == demo_pb2.DEMO_STATE_DISABLED
    with pytest.raises(errors.PermissionDenied):
        await auth.enable()


@pytest.mark.parametrize("service_name", ["jobs", "demo"])
async def test_services_other_than_the_gateway_are_refused(user: User, signer: Signers, service_name: str) -> None:
    other = replace(user, call=client.Caller(signer(service_name)))
    with pytest.raises(errors.PermissionDenied):
        await other.get()


async def test_errors_name_the_field(user: User) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await user.enable(niche="cats")
    assert excinfo.value.field == "niche"
    assert "tech_reviews" in excinfo.value.message


async def test_response_has_the_id_of_a_readable_job(user: User, eventually: Eventually) -> None:
    accepted = await user.enable(idempotency_key="k")
    assert UUID(accepted.job_id).version == 7
    await eventually(user.job_state(accepted.job_id, job_pb2.JOB_STATE_PENDING))
    assert (await user.job(accepted.job_id)).spec.kind == "demo.enable"
    again = await user.enable(idempotency_key="k")
    assert (again.job_id, again.replayed) == (accepted.job_id, True)


async def test_export_from_end_to_end(
    user: User, demo_target: str, worker_settings: WorkerSettings, eventually: Eventually
) -> None:
    channel = client.channel(demo_target, service=exports_servicer.SERVICE)
    exports = exports_service_pb2_grpc.ExportsServiceStub(channel)

    async def start() -> exports_service_pb2.StartExportResponse:
        request = exports_service_pb2.StartExportRequest(idempotency_key="export")
        return await user.call(exports.StartExport, request, timeout=TIMEOUT, user_token=user.token)

    async def is_ready() -> bool:
        request = exports_service_pb2.GetExportRequest()
        response = await user.call(exports.GetExport, request, timeout=TIMEOUT, user_token=user.token)
        return response.export.state == exports_service_pb2.EXPORT_STATE_READY

    async def download() -> bytes:
        request = exports_service_pb2.DownloadExportRequest()
        parts = user.call.stream(exports.DownloadExport, request, user_token=user.token)
        return b"".join([part.data async for part in parts])

    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await start()
    assert excinfo.value.code == "demo_not_enabled"
    with pytest.raises(errors.NotFound):
        await download()
    await user.enable(content_count=5, interaction_count=1_234)
    async with working(worker_settings):
        await eventually(user.state(demo_pb2.DEMO_STATE_ENABLED))
        accepted = await start()
        await eventually(is_ready)
        await eventually(user.job_state(accepted.job_id, job_pb2.JOB_STATE_COMPLETED))
    file = await download()
    assert dict((await user.job(accepted.job_id)).result) == {"rows": 1_234.0, "bytes": float(len(file))}
    again = await start()
    assert (again.job_id, again.replayed) == (accepted.job_id, True)
    with pytest.raises(errors.Unauthenticated):
        await user.call(exports.GetExport, exports_service_pb2.GetExportRequest(), timeout=TIMEOUT, user_token="")
    await channel.close()
