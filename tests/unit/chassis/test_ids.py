"""Identifiers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from chassis import errors, ids

NOW = datetime.now(UTC)


@pytest.mark.parametrize("ahead", [timedelta(days=-3650), timedelta(), timedelta(hours=1)])
def test_an_id_of_the_present_is_accepted(ahead: timedelta) -> None:
    job_id = ids.uuid7_of(NOW + ahead, "name")
    assert ids.parse_uuid7(str(job_id), "job_id") == job_id


@pytest.mark.parametrize(
    "value",
    [
        str(uuid4()),
        str(UUID(int=0)),
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "ffffffff-ffff-7fff-bfff-ffffffffffff",
        str(ids.uuid7_of(NOW + timedelta(days=2), "name")),
        "nonsense",
    ],
)
def test_an_id_that_would_stay_the_newest_or_has_no_time_is_refused(value: str) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        ids.parse_uuid7(value, "job_id")
    assert excinfo.value.field == "job_id"
