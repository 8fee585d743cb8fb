"""A strict generator makes a client from the OpenAPI document without a warning, and the client works."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.gateway.conftest import PASSWORD, Account

SETTINGS = Path(__file__).with_name("generated_client.yml")
SECONDS = 120.0


@pytest.fixture
async def package(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the generated package, which can be imported."""
    (tmp_path / "openapi.json").write_text(json.dumps((await account.http.get("/openapi.json")).json()))
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("openapi-python-client"),
        *("generate", "--path", "openapi.json", "--meta", "none", "--fail-on-warning"),
        *("--config", SETTINGS, "--output-path", "repruv_api"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(SECONDS):
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    monkeypatch.syspath_prepend(tmp_path)
    return "repruv_api"


async def test_generated_client_signs_in_and_reads(account: Account, package: str) -> None:
    def module(name: str) -> Any:
        return importlib.import_module(f"{package}.{name}")

    url = str(account.http.base_url)
    login = module("models").TokenLogin(email=account.email, password=PASSWORD)
    token = await module("api.auth.auth_token").asyncio(client=module("client").Client(base_url=url), body=login)
    client = module("client").AuthenticatedClient(base_url=url, token=token.token)
    assert (await module("api.auth.auth_me").asyncio(client=client)).email == account.email

    body = module("models").EnableDemo(profile_type="creator", niche="beauty", content_count=1, interaction_count=1)
    accepted = await module("api.demo.demo_enable").asyncio(client=client, body=body)
    job = await module("api.jobs.jobs_get_job").asyncio(client=client, job_id=accepted.job_id)
    assert (job.job_id, job.kind) == (accepted.job_id, "demo.enable")
    refused = await module("api.demo.demo_enable").asyncio_detailed(client=client, body=body)
    assert refused.status_code == httpx.codes.CONFLICT
    assert refused.parsed.code.startswith("demo_")
