"""Input validation and decoding in the demo service, without the database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from chassis import errors, settings
from lifecycle import updates
from lifecycle.machine import JobPhase, JobUpdate
from repruv.jobs.v1 import job_pb2
from services.demo import convert, dataset, declaration, domain, options, read_models, storage
from services.demo.settings import WorkerSettings

OPTIONS = {"profile_type": "", "niche": "", "content_count": None, "interaction_count": None}
ENVIRONMENT = {
    "NATS_URL": "nats://127.0.0.1:4222",
    "IDENTITY_KEY": "A" * 43,
    "TRUSTED_IDENTITY_KEYS": "demo:" + "A" * 43,
    "DATABASE_URL": "postgresql://demo@127.0.0.1/repruv",
    "JOBS_TARGET": "127.0.0.1:50053",
}


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [
        ("profile_type", "Brand", "local_business"),
        ("niche", "cats", "tech_reviews"),
        ("content_count", 0, "1 and 1,000"),
        ("content_count", 1_001, "1 and 1,000"),
        ("interaction_count", -1, "0 and 100,000"),
        ("interaction_count", 100_001, "0 and 100,000"),
    ],
)
def test_options_out_of_bounds_name_their_field_and_its_bounds(field: str, value: object, hint: str) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        options.resolve(**(OPTIONS | {field: value}))  # type: ignore[arg-type]
    assert excinfo.value.field == field
    assert hint in excinfo.value.message


@pytest.mark.parametrize("word", ["", "auto"])
def test_omitted_options_are_chosen(word: str) -> None:
    chosen = options.resolve(word, word, None, None)
    assert chosen.profile_type in dataset.PROFILE_TYPES
    assert chosen.niche in dataset.NICHES
    assert (chosen.content_count, chosen.interaction_count) == (60, 2_000)


@pytest.mark.parametrize(("content", "interactions"), [(1, 0), (1_000, 100_000)])
def test_options_at_the_bounds_are_accepted(content: int, interactions: int) -> None:
    chosen = options.resolve("brand", "food", content, interactions)
    assert (chosen.profile_type, chosen.niche) == ("brand", "food")
    assert (chosen.content_count, chosen.interaction_count) == (content, interactions)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "rant"),
        ("sentiment", "angry"),
        ("content_id", "c-1"),
        ("content_id", "c-1-x"),
        ("content_id", "c-1-99999999999"),
        ("content_id", "i-1-1"),
        ("date", "2026-02-30"),
        ("date", "20261123"),
        ("date", "2026-W01-1"),
        ("date", "9999-12-31"),
        ("date", "9999-01-01"),
        ("date", "2026-11-23T00:00"),
        ("days", 32),
        ("days", -1),
    ],
)
def test_unknown_filters_are_refused(field: str, value: str | int) -> None:
    arguments: dict[str, Any] = {"kind": "", "sentiment": "", "content_id": "", "date": "", field: value}
    if field == "days":
        arguments |= {"date": "2026-11-23", "day_count": arguments.pop("days")}
    with pytest.raises(errors.InvalidArgument) as excinfo:
        read_models.filters(needs_reply=False, **arguments)
    assert excinfo.value.field == field


def test_the_id_of_a_content_item_filters_by_it() -> None:
    filters = read_models.filters(
        kind="", sentiment="", needs_reply=False, content_id=read_models.content_id(3, 14), date=""
    )
    assert filters.content == (3, 14)


def test_days_of_a_dashboard_are_bounded() -> None:
    assert [read_models.days(value) for value in (0, 1, 180, 181)] == [30, 1, 180, 180]
    with pytest.raises(errors.InvalidArgument) as excinfo:
        read_models.days(-1)
    assert excinfo.value.field == "days"


def test_an_unknown_order_is_refused() -> None:
    assert read_models.order("") is read_models.Order.NEWEST
    with pytest.raises(errors.InvalidArgument) as excinfo:
        read_models.order("oldest")
    assert excinfo.value.field == "order_by"


def test_submit_is_deterministic_and_returns_as_update() -> None:
    mode = domain.Mode(
        owner_id=uuid4(),
        state=domain.State.ENABLING,
        generation=3,
        job_id=uuid4(),
        job_kind=domain.JobKind.ENABLE,
    )
    request = declaration.submit(mode)
    assert request == declaration.submit(mode)
    assert request.spec.max_attempts == 3
    job = job_pb2.Job(job_id=request.job_id, spec=request.spec, state=job_pb2.JOB_STATE_RUNNING, attempt=1, version=2)
    assert updates.from_job(storage.MODES, job) == JobUpdate(
        job_id=mode.job_id,  # type: ignore[arg-type]
        key=(mode.owner_id,),
        kind="demo.enable",
        generation=3,
        phase=JobPhase.HELD,
        attempt=1,
        version=2,
    )


def test_jobs_of_other_services_are_ignored() -> None:
    assert (
        updates.from_job(storage.MODES, job_pb2.Job(job_id="?", spec=job_pb2.JobSpec(kind="connection.connect")))
        is None
    )


def test_every_job_state_is_mapped() -> None:
    for state in job_pb2.JobState.values():
        job = job_pb2.Job(job_id=str(uuid4()), state=state)
        job.spec.kind, job.spec.owner_id = "demo.enable", str(uuid4())
        job.spec.payload.update({"generation": 1})
        assert (updates.from_job(storage.MODES, job) is None) == (state == job_pb2.JOB_STATE_UNSPECIFIED)


def test_every_state_has_its_message() -> None:
    for state in domain.State:
        chosen = domain.DemoOptions(profile_type="brand", niche="food", content_count=1, interaction_count=0, seed=1)
        mode = domain.Mode(owner_id=uuid4(), state=state, options=chosen, seeded_at=datetime.now(UTC))
        message = convert.demo_to_proto(mode)
        assert message.state != 0
        assert message.HasField("profile") == (state is not domain.State.DISABLED)


@pytest.mark.parametrize(
    ("name", "value"),
    [("DEMO_FAIL_HANDLERS", "some"), ("WORKER_CONCURRENCY", "0"), ("DEMO_BATCH_PAUSE_MS", "-1")],
)
def test_invalid_worker_settings_are_refused(name: str, value: str) -> None:
    with pytest.raises(settings.SettingsError, match=name):
        settings.read(WorkerSettings, ENVIRONMENT | {name: value})


def test_worker_settings() -> None:
    assert settings.read(WorkerSettings, ENVIRONMENT).failing == frozenset()
    assert settings.read(WorkerSettings, ENVIRONMENT | {"DEMO_FAIL_HANDLERS": "disable"}).failing == {"demo.disable"}
