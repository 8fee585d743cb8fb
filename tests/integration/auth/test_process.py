"""The process: required settings, start and stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chassis import identity, probe, settings
from chassis.rpc import client
from dev import subprocesses
from repruv.auth.v1 import auth_pb2
from services.auth import __main__ as auth_process
from services.auth import servicer
from services.auth.context import Context
from services.auth.settings import Settings
from tests.integration.auth.client import PASSWORD, Gateway, new_email

ROOT = Path(__file__).parents[3]
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
def environment(
    database_url: Callable[[str], str], nats_url: str, seeds: dict[str, str], trusted_identity_keys: str
) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{ROOT / 'protos' / 'gen'}",
        "LISTEN": f"127.0.0.1:{subprocesses.free_port()}",
        "METRICS_ADDRESS": f"127.0.0.1:{subprocesses.free_port()}",
        "DATABASE_URL": database_url("auth"),
        "NATS_URL": nats_url,
        "IDENTITY_KEY": seeds["auth"],
        "TRUSTED_IDENTITY_KEYS": trusted_identity_keys,
        "PASSWORD_MEMORY_KIB": "64",
        "JOBS_TARGET": "127.0.0.1:1",
        "DEMO_TARGET": "127.0.0.1:1",
        "ENCRYPTION_KEYS": "a:" + "A" * 43,
    }


async def start(environment: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *subprocesses.dying_with_parent(signal.SIGKILL),
        *(sys.executable, "-m", "services.auth"),
        *arguments,
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.usefixtures("no_admin")
async def test_the_process_creates_the_admin_serves_and_stops(
    environment: dict[str, str], signer: Callable[[str], identity.Signer], eventually: Eventually
) -> None:
    email = new_email()
    process = await start({**environment, "ADMIN_EMAIL": email, "ADMIN_PASSWORD": PASSWORD}, "serve")
    try:

        async def is_ready() -> bool:
            assert process.returncode is None
            return await asyncio.to_thread(probe.is_ready, f"http://{environment['METRICS_ADDRESS']}/healthz")

        await eventually(is_ready)
        channel = client.channel(environment["LISTEN"], service=servicer.SERVICE)
        login = await Gateway(channel, client.Caller(signer("gateway"))).login(email)
        await channel.close()
        assert login.user.role == auth_pb2.USER_ROLE_ADMIN
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.usefixtures("no_admin")
async def test_in_production_an_admin_that_cannot_be_created_is_a_settings_error(
    environment: dict[str, str], gateway: Gateway, context: Context
) -> None:
    account = await gateway.account()
    variables = {**environment, "ADMIN_EMAIL": account.email, "ADMIN_PASSWORD": PASSWORD}
    config = replace(settings.read(Settings, variables), environment="production", password_memory_kib=19_456)
    with pytest.raises(settings.SettingsError, match="ADMIN_EMAIL belongs to an ordinary user"):
        await auth_process.seed_admin(context, config, asyncio.Event())


async def test_migrating_again_changes_nothing(environment: dict[str, str]) -> None:
    process = await start(environment, "migrate")
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert b"nothing to do" in output


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"DATABASE_URL": "", "NATS_URL": ""}, "NATS_URL is missing; DATABASE_URL is missing"),
        # Found while it serves.
        ({"ADMIN_EMAIL": "admin", "ADMIN_PASSWORD": PASSWORD}, "ADMIN_EMAIL cannot be used"),
    ],
)
async def test_a_settings_error_is_printed_on_one_line(
    environment: dict[str, str], changed: dict[str, str], message: str
) -> None:
    process = await start({**environment, **changed}, "serve")
    _, output = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert message in output.decode()
    assert output.count(b"\n") == 1


async def test_admin_needs_both_an_address_and_a_strong_password(environment: dict[str, str], context: Context) -> None:
    with pytest.raises(settings.SettingsError, match="ADMIN_EMAIL and ADMIN_PASSWORD belong together"):
        settings.read(Settings, {**environment, "ADMIN_EMAIL": "admin@example.org"})
    variables = {**environment, "ADMIN_EMAIL": "admin@example.org", "ADMIN_PASSWORD": "short"}
    with pytest.raises(settings.SettingsError, match="ADMIN_PASSWORD cannot be used"):
        await auth_process.seed_admin(context, settings.read(Settings, variables), asyncio.Event())
