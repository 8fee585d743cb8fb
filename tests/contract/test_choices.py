"""The forms of pages offer exactly what the services accept and report."""

from __future__ import annotations

import pytest

from chassis import errors
from gateway import demo_options, labels
from gateway.api import schemas
from gateway.pages import choices
from repruv.demo.v1 import demo_service_pb2
from services.auth import audit
from services.demo import convert, dataset, options
from services.jobs import list_storage


def test_the_form_offers_what_there_is() -> None:
    assert demo_options.PROFILE_TYPES == dataset.PROFILE_TYPES
    assert demo_options.NICHES == dataset.NICHES
    assert demo_options.AUTO == options.AUTO
    assert demo_options.CONTENT_LIMITS == (1, dataset.MAX_CONTENT)
    assert demo_options.INTERACTION_LIMITS == (0, dataset.MAX_INTERACTIONS)
    assert (demo_options.DEFAULT_CONTENT, demo_options.DEFAULT_INTERACTIONS) == (
        dataset.DEFAULT_CONTENT,
        dataset.DEFAULT_INTERACTIONS,
    )


def test_security_events_are_filtered_by_every_kind() -> None:
    assert sorted(labels.SECURITY_EVENTS) == sorted(audit.Kind)


def test_pages_count_as_many_jobs_ahead_as_the_jobs_service() -> None:
    assert labels.MAX_AHEAD == list_storage.MAX_JOBS_AHEAD


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("profile_type", "auto"),
        ("profile_type", ""),
        ("profile_type", "brand"),
        ("profile_type", "pirate"),
        ("niche", "food"),
        ("niche", "Food"),
        ("content_count", ""),
        ("content_count", "0"),
        ("content_count", "1"),
        ("content_count", "1000"),
        ("content_count", "1001"),
        ("interaction_count", "0"),
        ("interaction_count", "100000"),
        ("interaction_count", "100001"),
        ("interaction_count", "99999999999999999999"),
    ],
)
def test_the_form_refuses_what_the_service_refuses(field: str, text: str) -> None:
    fields = {"profile_type": "", "niche": "", "content_count": "", "interaction_count": "", "expires": "", field: text}
    counts = {
        name: min(count, 2**31 - 1) if (count := choices.count(fields[name])) is not None else None
        for name in ("content_count", "interaction_count")
    }
    try:
        options.resolve(fields["profile_type"], fields["niche"], counts["content_count"], counts["interaction_count"])
    except errors.InvalidArgument as error:
        assert list(choices.mistakes(fields)) == [error.field]
    else:
        assert choices.mistakes(fields) == {}


@pytest.mark.parametrize("text", ["-1", "1e3", "1.5", "1,000", "many", "٣", "1_0", "0x10"])
def test_counts_are_whole_numbers_in_plain_digits(text: str) -> None:
    fields = {"profile_type": "", "niche": "", "content_count": text, "interaction_count": "5", "expires": ""}
    assert choices.mistakes(fields) == {"content_count": "Enter a whole number from 1 to 1,000."}


@pytest.mark.parametrize("text", choices.EXPIRIES)
def test_the_service_takes_every_expiry_that_the_form_offers(text: str) -> None:
    request = demo_service_pb2.EnableDemoRequest(expire_after=choices.expiry(text))
    chosen = options.resolve("", "", None, None, convert.expire_after_from_proto(request))
    assert chosen.expire_after == choices.EXPIRIES[text]


@pytest.mark.parametrize("text", ["2", "never", "-1", "1 ", "365"])
def test_the_form_takes_no_other_expiry(text: str) -> None:
    fields = {"profile_type": "", "niche": "", "content_count": "", "interaction_count": "", "expires": text}
    assert choices.mistakes(fields) == {"expires": "Choose one of the options."}


def test_the_api_takes_what_the_service_takes() -> None:
    bounds = [options.EXPIRE_AFTER[0].total_seconds(), options.EXPIRE_AFTER[1].total_seconds()]
    schema = schemas.EnableDemo.model_json_schema()["properties"]["expires_in_seconds"]["anyOf"][0]
    assert [schema["minimum"], schema["maximum"]] == bounds
