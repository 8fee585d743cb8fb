"""What the demo service refuses before it touches the database, and how it reads what others send."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from chassis import errors, settings
from repruv.jobs.v1 import job_pb2
from services.demo import convert, dataset, domain, listing, wishes
from services.demo.settings import WorkerSettings

WISH = {"profile_type": "", "niche": "", "content_count": None, "interaction_count": None}
ENVIRONMENT = {
    "NATS_URL": "nats://127.0.0.1:4222",
    "IDENTITY_KEY": "key",
    "TRUSTED_IDENTITY_KEYS": "demo:key",
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
def test_a_wish_out_of_bounds_names_its_field_and_what_is_right(field: str, value: object, hint: str) -> None:
    with pytest.raises(errors.InvalidArgument) as refused:
        wishes.resolve(**(WISH | {field: value}))  # type: ignore[arg-type]
    assert refused.value.field == field
    assert hint in refused.value.message


@pytest.mark.parametrize("word", ["", "auto"])
def test_what_is_left_open_is_chosen(word: str) -> None:
    wish = wishes.resolve(word, word, None, None)
    assert wish.profile_type in dataset.PROFILE_TYPES
    assert wish.niche in dataset.NICHES
    assert (wish.content_count, wish.interaction_count) == (60, 2_000)


@pytest.mark.parametrize(("content", "interactions"), [(1, 0), (1_000, 100_000)])
def test_the_bounds_themselves_are_allowed(content: int, interactions: int) -> None:
    wish = wishes.resolve("brand", "food", content, interactions)
    assert (wish.profile_type, wish.niche) == ("brand", "food")
    assert (wish.content_count, wish.interaction_count) == (content, interactions)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "rant"),
        ("sentiment", "angry"),
        ("content_id", "c-1"),
        ("content_id", "c-1-x"),
        ("content_id", "c-1-99999999999"),
        ("content_id", "i-1-1"),
    ],
)
def test_unknown_filters_are_refused(field: str, value: str) -> None:
    given = {"kind": "", "sentiment": "", "content_id": "", field: value}
    with pytest.raises(errors.InvalidArgument) as refused:
        listing.filters(needs_reply=False, **given)
    assert refused.value.field == field


def test_the_id_of_a_content_item_filters_by_it() -> None:
    found = listing.filters(kind="", sentiment="", needs_reply=False, content_id=listing.content_id(3, 14))
    assert found.content == (3, 14)


def test_an_unknown_order_is_refused() -> None:
    assert listing.order("") is listing.Order.NEWEST
    with pytest.raises(errors.InvalidArgument) as refused:
        listing.order("oldest")
    assert refused.value.field == "order_by"


def test_a_submit_is_the_same_each_time_and_comes_back_as_news() -> None:
    mode = domain.Mode(
        owner_id=uuid4(),
        state=domain.State.ENABLING,
        generation=3,
        job_id=uuid4(),
        job_kind=domain.JobKind.ENABLE,
    )
    request = convert.submit_to_proto(mode)
    assert request == convert.submit_to_proto(mode)
    assert request.spec.max_attempts == 3
    job = job_pb2.Job(job_id=request.job_id, spec=request.spec, state=job_pb2.JOB_STATE_RUNNING, attempt=1, version=2)
    assert convert.news_from_proto(job) == domain.JobNews(
        job_id=mode.job_id,  # type: ignore[arg-type]
        owner_id=mode.owner_id,
        generation=3,
        phase=domain.JobPhase.HELD,
        attempt=1,
        version=2,
    )


def test_jobs_of_other_services_are_no_news() -> None:
    assert convert.news_from_proto(job_pb2.Job(job_id="?", spec=job_pb2.JobSpec(kind="connection.connect"))) is None


def test_every_job_state_means_something() -> None:
    for state in job_pb2.JobState.values():
        job = job_pb2.Job(job_id=str(uuid4()), state=state)
        job.spec.kind, job.spec.owner_id = "demo.enable", str(uuid4())
        job.spec.payload.update({"generation": 1})
        assert (convert.news_from_proto(job) is None) == (state == job_pb2.JOB_STATE_UNSPECIFIED)


def test_every_state_has_its_message() -> None:
    for state in domain.State:
        wish = domain.Wish(profile_type="brand", niche="food", content_count=1, interaction_count=0, seed=1)
        mode = domain.Mode(owner_id=uuid4(), state=state, wish=wish, seeded_at=datetime.now(UTC))
        message = convert.demo_to_proto(mode)
        assert message.state != 0
        assert message.HasField("profile") == (state is not domain.State.DISABLED)


@pytest.mark.parametrize(
    ("name", "value"),
    [("DEMO_FAIL_HANDLERS", "some"), ("WORKER_CONCURRENCY", "0"), ("DEMO_BATCH_PAUSE_MS", "-1")],
)
def test_worker_settings_that_cannot_be_meant_are_refused(name: str, value: str) -> None:
    with pytest.raises(settings.SettingsError, match=name):
        settings.read(WorkerSettings, ENVIRONMENT | {name: value})


def test_worker_settings() -> None:
    assert settings.read(WorkerSettings, ENVIRONMENT).failing == frozenset()
    assert settings.read(WorkerSettings, ENVIRONMENT | {"DEMO_FAIL_HANDLERS": "disable"}).failing == {"demo.disable"}
