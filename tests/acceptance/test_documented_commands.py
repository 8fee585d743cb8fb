"""The documented commands for operators and new users work on a running system.

tests/contract/test_commands.py checks that all documented commands exist. Others run the rest: test_job_file.py `make job`,
test_calling_us.py those of calling-us.md, tests/containers those of Compose and of operators, tests/ha and
tests/system_postgres those of high availability. Not run: helm and kubectl, which need a cluster (tests/helm renders and
validates the chart), the images of the profile `observability`, and benchmarks, which are measurements.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Iterator

import psycopg
import pytest

from dev import admin as local_admin
from dev import demo, psql
from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.contract.documented import pages, spans

STATEMENT = re.compile(r"(SELECT|VACUUM|DROP|ALTER)\b")
OF_STANDBYS = ("pg_wal_replay_resume", "pg_is_wal_replay_paused")
"""Statements for standbys, which a primary refuses; tests/ha has standbys."""
PLACEHOLDERS = {"PID": "0", "NAME": "'documented'"}
REASONS = ("no_worker", "paused", "waiting", "overrun", "cancelling", "crashing", "on_hold")
"""What `stuck` prints."""
CHANGES = (
    "run",
    "replay",
    "set-schedule",
    "delete-schedule",
    "trigger",
    "pause-schedule",
    "resume-schedule",
    "schedule",
)
"""Commands that need a schedule of their own or leave a job behind: tests/integration/jobs has them."""


def statements() -> list[str]:
    """Return the statements of the runbook."""
    runbook_spans = {span for page, text in pages().items() if page.startswith("docs/runbook/") for span in spans(text)}
    return sorted(span for span in runbook_spans if STATEMENT.match(span) and ("(" in span or " FROM " in span))


def admin_commands() -> Iterator[list[str]]:
    """Yield the commands of the admin tool in the runbook, and those of the table in operations.md."""
    for page, text in pages().items():
        if page.startswith("docs/runbook/"):
            yield from (shlex.split(span)[1:] for span in spans(text) if span.startswith("admin ") and "…" not in span)
    table = pages()["docs/operations.md"].partition("## Inspecting and controlling jobs")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| [^|]+ \| ([^|]+) \|$", table, re.MULTILINE)[1:]:
        yield from (shlex.split(span) for span in spans(row) if not span.startswith((*REASONS, "'*'", "docker ")))


async def test_statements_of_the_runbook_run(system: System) -> None:
    statements_of_pages = statements()
    assert len(statements_of_pages) > 15
    async with await psycopg.AsyncConnection.connect(system.superuser_url(), autocommit=True) as connection:
        await connection.execute("SELECT pg_create_physical_replication_slot('documented')")
        for statement in statements_of_pages:
            text = re.sub(r"\b(PID|NAME)\b", lambda match: PLACEHOLDERS[match[1]], statement)
            if any(name in statement for name in OF_STANDBYS):
                with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
                    await connection.execute(text)
            else:
                await connection.execute(text)
        assert await (await connection.execute("SELECT FROM pg_replication_slots")).fetchall() == []


async def test_commands_of_operators_run(system: System, user: User, capsys: pytest.CaptureFixture[str]) -> None:
    job_id = await user.enable()
    await user.wait_for_job(job_id, "completed")
    values = {"JOB": job_id, "KIND": "demo.enable", "N": "5", "TEXT": "demo"}
    commands = {tuple(re.sub(r"\b(JOB|KIND|N|TEXT)\b", lambda m: values[m[1]], word) for word in words)
                for words in admin_commands()}  # fmt: skip
    assert len(commands) > 20
    try:
        for command in sorted(commands):
            if command[0] in CHANGES:
                continue
            # Other tests have failed jobs: none of them is changed here.
            is_bulk = command[0] == "bulk"
            words = [word.replace("demo.enable", "demo.documented") if is_bulk else word for word in command]
            code = await asyncio.to_thread(local_admin.main, words, system.data_dir)
            error = capsys.readouterr().err
            if command[0] in ("retry", "cancel", "hold"):
                assert code == 1 and error.startswith("jobs admin: job_"), (
                    "a completed job is not changed, which one line says"
                )
            else:
                assert code == 0, (command, error)
    finally:
        for undo in (
            ["limit", "demo.enable", "--max-running", "0", "--rate", "0"],
            ["resume", "demo.enable"],
            ["resume", "*"],
        ):
            await asyncio.to_thread(local_admin.main, undo, system.data_dir)


async def test_make_demo_runs(
    system: System, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GATEWAY_PORT", raising=False)
    assert await asyncio.to_thread(demo.main, ["--interactions", "500"], system.data_dir) == 0, (
        "it finds the running system, whatever its port"
    )
    assert "500 interactions" in capsys.readouterr().out


async def test_make_psql_runs(system: System, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--no-align", "--tuples-only", "--command=SELECT current_user, pg_is_in_recovery()"]
    assert await asyncio.to_thread(psql.main, arguments, system.data_dir) == 0
    assert "postgres|f" in capfd.readouterr().out
