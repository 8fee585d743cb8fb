"""Secrets appear nowhere: not in the database, logs, events or jobs."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import pytest
import sqlalchemy as sa

import worker
from services.auth.connections import operations
from services.auth.connections.domain import State


async def texts(engine: Any) -> str:
    """Return all values of the schema as text, bytes included."""
    contents: list[str] = []
    async with engine.connect() as conn:
        tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'auth'"
        for table in (await conn.execute(sa.text(tables))).scalars().all():
            for row in await conn.execute(sa.text(f"SELECT * FROM auth.{table}")):
                contents += [
                    bytes(value).decode("latin-1") if isinstance(value, bytes | memoryview) else str(value)
                    for value in row
                ]
    return "\n".join(contents)


@pytest.mark.parametrize("platform", ["tampering", "youtube", "instagram"])
async def test_no_secret_is_readable_anywhere(
    new_owner: Any, tampering: Any, platform: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    owner = await new_owner(platform)
    read: list[str] = []
    secrets: set[str] = set()

    back = await owner.consented()
    secrets |= {back["code"], back["state"]}
    read.append(await texts(owner.parts.engine))
    await owner.come_back(back)
    stored = await owner.stored()
    secrets |= {stored.grant.code, stored.grant.verifier, stored.grant.nonce}
    read.append(await texts(owner.parts.engine))
    await owner.connect()
    tokens = await owner.tokens()
    read.append(await texts(owner.parts.engine))
    representations = [repr(await owner.stored()), repr(tokens)]

    # Failures log no secrets either.
    await owner.age("refresh_at", "90 days")
    refusal = {"status": 400, "body": {"error": "canary-of-theirs"}, "times": 1}
    await tampering.misbehave(refuse=[{"path": path, **refusal} for path in ("/token", "/api/refresh_access_token")])
    with pytest.raises((worker.JobFailed, worker.Snooze)) as excinfo:
        await owner.refresh()
    representations.append("".join(traceback.format_exception(excinfo.value)))
    await owner.disconnect()
    await owner.take_back()
    read.append(await texts(owner.parts.engine))
    assert (await owner.connection()).state is State.DISCONNECTED

    secrets |= {tokens.access_token, "canary-client-secret"}
    secrets |= {tokens.refresh_token} - {""}
    logged = "\n".join(f"{record.getMessage()} {record.__dict__} {record.exc_info}" for record in caplog.records)
    output = capfd.readouterr()
    for secret in secrets:
        for place in (*read, logged, output.out, output.err, *representations):
            assert secret not in place
    assert all("canary-of-theirs" not in text for text in (*read, logged))


async def test_secret_is_decrypted_only_in_its_own_row(new_owner: Any) -> None:
    first, second = await new_owner(), await new_owner("youtube")
    await first.returned()
    await second.returned()
    statement = """
        UPDATE auth.connection_secrets AS here SET sealed_code = there.sealed_code
        FROM auth.connection_secrets AS there WHERE here.user_id = :here AND there.user_id = :there
    """
    async with first.parts.engine.begin() as conn:
        await conn.execute(sa.text(statement), {"here": second.user_id, "there": first.user_id})
    with pytest.raises(worker.JobFailed, match="our side"):
        await second.connect()


async def test_values_of_a_flow_are_unique(new_owner: Any) -> None:
    owner = await new_owner()
    urls = [(await owner.begin()).authorization_url for _ in range(5)]
    for name in ("state", "nonce", "code_challenge"):
        values = {dict(part.split("=") for part in url.split("?")[1].split("&"))[name] for url in urls}
        assert len(values) == len(urls)
        assert all(len(value) >= 43 for value in values)
    assert operations.redirect_uri("https://x/", "a").endswith("/a/callback")
