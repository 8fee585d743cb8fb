"""What operators read about the exception of a failed attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import worker
from repruv.jobs.v1 import job_pb2
from tests.unit.worker.servicer import Fake
from worker._api.secrets import MASK, Secrets
from worker._runtime import failures

SECRET = "s3cret'\n\\token/?"


@dataclass(frozen=True)
class Login:
    """A payload with a secret."""

    name: str
    token: str


def _keep(text: str) -> str:
    return text


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Return the exception with a traceback."""
    try:
        raise error from cause  # noqa: TRY301 - the traceback needs a frame
    except BaseException as raised_error:  # noqa: BLE001 - the caller examines it
        return raised_error


async def _breaks(context: worker.Context, payload: Login) -> None:
    raise KeyError(f"no account for {payload.token}")


async def _refuses(context: worker.Context, payload: Login) -> None:
    try:
        await _breaks(context, payload)
    except KeyError as error:
        raise worker.JobFailed("no_account", "There is no such account.", retryable=False) from error


async def _hangs(context: worker.Context, payload: Login) -> None:
    await asyncio.Event().wait()


def _breaks_blocking(context: worker.BlockingContext, payload: Login) -> None:
    raise KeyError(f"no account for {payload.token}")


async def outcome_of(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any], handler: Callable[..., Any], **options: Any
) -> job_pb2.JobException:
    """Return the exception that the worker reports for a handler."""
    kind = worker.Kind("test.login", handler, payload=Login, sensitive=("token",), **options)
    async with working(kind):
        exception: job_pb2.JobException = (
            await ended(fake.add("test.login", {"name": "mia", "token": SECRET}))
        ).failed.exception
    return exception


@pytest.mark.parametrize(
    ("handler", "pool"),
    [(_breaks, None), (_refuses, None), (_breaks_blocking, "thread"), (_breaks_blocking, "process")],
)
async def test_failed_attempt_reports_its_exception_without_secrets(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any], handler: Callable[..., Any], pool: Any
) -> None:
    exception = await outcome_of(fake, working, ended, handler, pool=pool)
    assert (exception.type, exception.message) == ("KeyError", f'"no account for {MASK}"')
    assert "raise KeyError(" in exception.traceback
    assert "s3cret" not in str(exception)


async def test_place_is_the_handler_without_the_runtime(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    exception = await outcome_of(fake, working, ended, _refuses)
    assert exception.place == "tests/unit/worker/test_failures.py:_breaks"
    assert "worker/_runtime" not in exception.traceback


def test_place_may_be_in_a_package_whose_name_begins_like_the_runtime() -> None:
    namespace: dict[str, Callable[[], None]] = {}
    path = Path(worker.__file__).parents[1] / "worker_of_somebody" / "imports.py"
    exec(compile("def fetch():\n    raise ValueError('x')", str(path), "exec"), namespace)  # noqa: S102 - a file of that name
    with pytest.raises(ValueError, match="x") as excinfo:
        namespace["fetch"]()
    assert failures.describe(excinfo.value, _keep).place == "worker_of_somebody/imports.py:fetch"


async def test_timeout_shows_where_the_handler_waited(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    spec = job_pb2.JobSpec()
    spec.attempt_timeout.FromTimedelta(timedelta(seconds=0.1))
    async with working(worker.Kind("test.hangs", _hangs, payload=Login)):
        job_id = fake.add("test.hangs", {"name": "mia", "token": SECRET}, spec=spec)
        exception = (await ended(job_id)).failed.exception
    assert "in _hangs" in exception.traceback


async def test_completed_attempt_reports_no_exception(
    fake: Fake, working: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    async def works(context: worker.Context) -> None:
        return

    async with working(worker.Kind("test.works", works)):
        assert (await ended(fake.add("test.works"))).completed.ByteSize() <= 2


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (worker.JobFailed("refused", "The platform refused.", retryable=False), "worker.JobFailed"),
        (
            BaseExceptionGroup("tasks", [raised(worker.JobFailed("refused", "No.", retryable=False))]),
            "worker.JobFailed",
        ),
        (BaseExceptionGroup("tasks", [raised(ValueError("x"), KeyError("y"))]), "KeyError"),
        (BaseExceptionGroup("tasks", [ValueError("x"), KeyError("y")]), "ExceptionGroup"),
    ],
)
def test_type_is_the_public_name_of_what_went_wrong(error: BaseException, name: str) -> None:
    described = failures.describe(raised(error), _keep)
    assert described.type == name
    assert described.place.startswith("tests/unit/worker/test_failures.py:raised")
    assert "worker._api" not in described.traceback


class _Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def test_exception_without_words_is_still_described() -> None:
    described = failures.describe(raised(_Unprintable()), _keep)
    assert described.type.endswith("_Unprintable")
    assert "cannot be shown" in described.message


def test_texts_are_bounded_and_printable() -> None:
    described = failures.describe(raised(ValueError("\ud800\0" + "é" * 50_000)), _keep)
    assert len(described.message.encode()) <= failures.MESSAGE_BYTES
    assert len(described.traceback.encode()) <= failures.TRACEBACK_BYTES + 100
    assert "bytes left out" in described.traceback
    assert "\0" not in described.traceback
    assert described.traceback.startswith("Traceback")


def test_message_is_masked_before_it_is_cut() -> None:
    text = "x" * (failures.MESSAGE_BYTES - 3) + "hunter2"
    assert "hun" not in failures.describe(raised(ValueError(text)), Secrets({"p": "hunter2"}, ["p"]).mask).message


def test_every_value_of_a_sensitive_field_is_masked_in_every_form() -> None:
    payload = {"auth": {"codes": ["alpha/9", 424242, True, None]}, "open": "visible", "payload": {"auth": "inner-one"}}
    secrets = Secrets(payload, ["auth", "missing"])
    text = secrets.mask("alpha/9 alpha%2F9 424242 visible inner-one True")
    assert text == f"{MASK} {MASK} {MASK} visible {MASK} True"


def test_sensitive_field_must_exist() -> None:
    with pytest.raises(ValueError, match="no field tokn"):
        worker.Kind("test.login", _breaks, payload=Login, sensitive=("tokn",))
