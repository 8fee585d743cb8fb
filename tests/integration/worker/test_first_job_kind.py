"""The code of docs/first-job-kind.md runs unchanged."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf import json_format

import worker
from chassis import bus, identity
from chassis.rpc import client
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc

PAGE = Path(__file__).parents[3] / "docs" / "first-job-kind.md"
MOST_LINES = 40

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import the code of the page as a module."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks[0].splitlines()) < MOST_LINES
    (tmp_path / "first_job_kind.py").write_text("\n".join(blocks))
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("first_job_kind")
    sys.modules.pop("first_job_kind")


async def test_code_of_the_page_runs(
    page: Any,
    jobs_target: str,
    nats_url: str,
    signer: Callable[[str], identity.Signer],
    eventually: Eventually,
) -> None:
    channel = worker.client.channel(jobs_target)
    call = client.Caller(signer("demo"))
    jobs = worker.JobsClient(channel, call)
    stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
    stop = asyncio.Event()
    working = asyncio.create_task(page.work(jobs, bus.Bus(nats_url, name="test"), stop))
    job_id = await page.submit(jobs, str(uuid4()))
    job = job_pb2.Job()

    async def completed() -> bool:
        request = jobs_service_pb2.GetJobRequest(job_id=job_id)
        job.CopyFrom((await call(stub.GetJob, request, timeout=60.0)).job)
        return job.state == job_pb2.JOB_STATE_COMPLETED

    await eventually(completed)
    stop.set()
    await working
    await channel.close()
    assert json_format.MessageToDict(job.result) == {"greeted": ["Hello Ada", "Hello Grace"]}


async def test_test_of_the_page_passes(page: Any) -> None:
    await page.test_greet()
