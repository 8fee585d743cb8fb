"""The admin tool with the real jobs service: most commands in this process, some as a separate one."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from chassis import ids
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, kind_pb2
from services.jobs.admin import arguments
from services.jobs.admin import tool as admin_tool
from tests.integration.jobs import jobs_server
from tests.integration.jobs.jobs_server import JobsApi

ROOT = Path(__file__).parents[3]
SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The exit of the tool."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The output as JSON."""
        assert self.code == 0, self.err
        return json.loads(self.out)


Tool = Callable[..., Awaitable[Ended]]


@pytest.fixture
def environment(jobs_target: str, seeds: dict[str, str], trusted_identity_keys: str) -> dict[str, str]:
    """Return the environment of the command line."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{ROOT / 'protos' / 'gen'}",
        "JOBS_TARGET": jobs_target,
        "IDENTITY_KEY": seeds["jobs"],
        "TRUSTED_IDENTITY_KEYS": trusted_identity_keys,
    }


async def begin(environment: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    """Start the tool."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "services.jobs", "admin", *arguments)
    return await asyncio.create_subprocess_exec(*command, env=environment, cwd=ROOT, stdout=pipe, stderr=pipe)


async def ending(process: asyncio.subprocess.Process) -> Ended:
    """Wait for its end."""
    async with asyncio.timeout(SECONDS):
        out, err = await process.communicate()
    return Ended(code=process.returncode or 0, out=out.decode(), err=err.decode())


@pytest.fixture
def tool(environment: dict[str, str]) -> Tool:
    """Run the tool to its end, in this process."""

    async def run(*argv: str, **changed: str) -> Ended:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = await admin_tool.run(arguments.parse(list(argv)), {**environment, **changed})
            except SystemExit as end:
                code = int(end.code or 0)
        return Ended(code=code, out=out.getvalue(), err=err.getvalue())

    return run


async def test_jobs_are_listed_by_owner_kind_state_and_number(jobs_api: JobsApi, kind: str, tool: Tool) -> None:
    jobs = [await jobs_api.submit(kind) for _ in range(3)]
    await jobs_api.call(jobs_api.jobs.CancelJob, jobs_service_pb2.CancelJobRequest(job_id=jobs[0].job_id))
    table = await tool("list", "--kind", kind)
    header, *lines = table.out.splitlines()
    assert (table.code, header.split()[:3]) == (0, ["JOB", "KIND", "STATE"])
    assert [line.split()[0] for line in lines] == [job.job_id for job in reversed(jobs)]

    async def listed(*filters: str) -> set[str]:
        return {job["job_id"] for job in (await tool("--json", "list", *filters)).json.get("jobs", [])}

    assert await listed("--kind", kind, "--state", "cancelled") == {jobs[0].job_id}
    assert await listed("--owner", jobs[1].spec.owner_id) == {jobs[1].job_id}
    assert await listed("--kind", kind, "--limit", "2") == {job.job_id for job in jobs[1:]}
    assert (await tool("list", "--kind", f"{kind}.none")).out == "no jobs\n"


async def test_jobs_are_filtered_counted_and_grouped_by_cause(jobs_api: JobsApi, kind: str, tool: Tool) -> None:
    jobs = [await jobs_api.submit(kind) for _ in range(3)]
    for job in await jobs_api.claim(kind, limit=2):
        await jobs_api.finish(job, failed=jobs_server.failed("mailbox_full"))
    filters = (
        "--kind",
        kind,
        "--error",
        "mailbox_full",
        "--since",
        "1h",
        "--no-system",
        "--worker",
        jobs_server.WORKER,
    )
    listed = (await tool("--json", "list", "--order", "oldest", *filters)).json["jobs"]
    assert [job["job_id"] for job in listed] == [job.job_id for job in jobs[:2]]
    counted = (await tool("count", "--kind", kind)).out.splitlines()
    assert [line.split() for line in counted[1:]] == [[kind, "failed", "2"], [kind, "pending", "1"], ["all", "-", "3"]]
    (group,) = (await tool("--json", "errors", "--kind", kind)).json["groups"]
    assert (group["code"], group["count"]) == ("mailbox_full", "2")
    output = (await tool("overview", "--span", "day")).out
    assert any(line.split()[:3] == ["failing", kind, "2"] for line in output.splitlines())
    assert "jobs.bulk" in output  # the worker of the jobs service, with its kinds
    assert (await tool("--json", "overview")).json["rates"]["total"]["kind"] == "*"
    assert (await tool("list", "--since", "soon")).code == 2
    assert (await tool("bulk", "retry", "--kind", kind, "--dry-run")).out.splitlines()[-1].split() == ["all", "-", "2"]
    assert (await tool("--json", "bulk", "cancel", "--kind", f"{kind}.none")).json["spec"]["kind"] == "jobs.bulk"


async def test_more_jobs_than_a_page_are_listed(jobs_api: JobsApi, kind: str, tool: Tool) -> None:
    for _ in range(110):
        await jobs_api.submit(kind)
    listed = (await tool("list", "--kind", kind, "--limit", "105", "--json")).json["jobs"]
    assert len({job["job_id"] for job in listed}) == 105


async def test_a_job_is_shown_with_its_history_retried_and_cancelled(jobs_api: JobsApi, kind: str, tool: Tool) -> None:
    job = await jobs_api.submit(kind)
    (claimed_job,) = await jobs_api.claim(kind)
    await jobs_api.finish(claimed_job, failed=jobs_server.failed("mailbox_full"))
    progressed = (await tool("show", job.job_id)).out
    for text in (job.job_id, "mailbox_full: It did not work.", jobs_server.WORKER, "submitted", "claimed"):
        assert text in progressed
    whole = (await tool("show", job.job_id, "--json")).json
    assert whole["job"]["state"] == "JOB_STATE_FAILED"
    assert [item["reason"] for item in whole["history"]["transitions"]] == ["submitted", "claimed", "failed"]

    assert "pending" in (await tool("retry", job.job_id)).out
    cancelled = (await tool("cancel", job.job_id, "--reason", "not needed", "--json")).json
    assert (cancelled["state"], cancelled["cancel_reason"]) == ("JOB_STATE_CANCELLED", "not needed")


async def test_jobs_are_put_on_hold_and_released_one_by_one_and_together(
    jobs_api: JobsApi, kind: str, tool: Tool
) -> None:
    jobs = [await jobs_api.submit(kind) for _ in range(2)]
    assert "on hold" in (await tool("hold", jobs[0].job_id)).out
    record = await tool("show", jobs[0].job_id)
    assert any(
        line.split()[0] == "hold" and line.endswith("the command line") for line in record.out.splitlines() if line
    )
    listed = (await tool("--json", "list", "--kind", kind, "--on-hold")).json["jobs"]
    assert [job["job_id"] for job in listed] == [jobs[0].job_id]
    for change in ("hold", "release"):
        counted = (await tool("bulk", change, "--kind", kind, "--dry-run")).out
        assert counted.splitlines()[-1].split() == ["all", "-", "1"], change
    stuck = (await tool("list", "--kind", kind, "--problem", "on_hold")).out
    assert jobs[0].job_id in stuck
    released = (await tool("--json", "release", jobs[0].job_id)).json
    assert (released["state"], released.get("on_hold")) == ("JOB_STATE_SCHEDULED", None)
    (claimed_job,) = await jobs_api.claim(kind)
    refused = await tool("hold", claimed_job.job_id)
    assert (refused.code, refused.err.split(":")[1].strip()) == (1, "job_not_holdable")


async def test_kinds_are_limited_paused_and_resumed(jobs_api: JobsApi, kind: str, tool: Tool) -> None:
    await jobs_api.register(kind_pb2.KindRegistration(kind=kind))
    await jobs_api.submit(kind)
    assert "2 at once, 10 per 1m" in (await tool("limit", kind, "--max-running", "2", "--rate", "10/minute")).out
    # What is not named stays.
    limits = (await tool("limit", kind, "--max-running-per-key", "3", "--json")).json["limits"]
    assert limits == {"max_running": 2, "max_running_per_key": 3, "rate_count": 10, "rate_period": "60s"}
    assert (await tool("limit", kind, "--rate", "0", "--json")).json["limits"]["max_running"] == 2
    assert "since" in (await tool("pause", kind)).out
    assert await jobs_api.claim(kind) == []
    line = next(line for line in (await tool("kinds")).out.splitlines() if line.startswith(kind))
    assert "1 pending" in line
    await tool("resume", kind)
    assert len(await jobs_api.claim(kind)) == 1


async def test_workers_and_stuck_jobs_are_listed(jobs_api: JobsApi, kind: str, tool: Tool) -> None:
    await jobs_api.register(kind_pb2.KindRegistration(kind=kind))
    await jobs_api.submit(f"{kind}.no_worker")
    workers = (await tool("workers", "--json")).json["workers"]
    assert jobs_server.WORKER in {worker["worker"] for worker in workers}
    assert jobs_server.WORKER in (await tool("workers")).out
    stuck = (await tool("stuck", "--json", "--limit", "100")).json["jobs"]
    assert "no_worker" in {item["reason"] for item in stuck}
    assert stuck[0]["job"]["job_id"] in (await tool("stuck")).out
    assert (await tool("schedules")).code == 0


async def test_a_job_is_watched_to_its_end(jobs_api: JobsApi, kind: str, environment: dict[str, str]) -> None:
    for outcome, code in (({}, 0), ({"failed": jobs_server.failed("mailbox_full")}, 1)):
        job = await jobs_api.submit(kind)
        process = await begin(environment, "watch", job.job_id, "--json")
        assert process.stdout
        async with asyncio.timeout(SECONDS):
            first = json.loads(await process.stdout.readline())
        assert (first["job_id"], first["state"]) == (job.job_id, "JOB_STATE_PENDING")
        (claimed_job,) = await jobs_api.claim(kind)
        await jobs_api.finish(claimed_job, **outcome)
        ended = await ending(process)
        last = json.loads(ended.out.splitlines()[-1])
        assert (ended.code, last["state"]) == (code, "JOB_STATE_FAILED" if code else "JOB_STATE_COMPLETED")


async def test_a_failed_job_is_shown_with_its_traceback_and_log_lines(jobs_api: JobsApi, kind: str, tool: Tool) -> None:
    job = await jobs_api.submit(kind)
    (claimed_job,) = await jobs_api.claim(kind)
    lines = [job_pb2.LogLine(number=1, level="warning", text="slow\x1b[2J page")]
    failed = jobs_service_pb2.FinishJobRequest.Failed(
        error=job_pb2.JobError(code="internal", message="Wrong."),
        exception=job_pb2.JobException(
            type="KeyError", message="'x'", traceback="Traceback:\n  line\x1b[2J", place="a:b"
        ),
    )
    request = jobs_service_pb2.FinishJobRequest(attempt=jobs_server.attempt_of(claimed_job), failed=failed, lines=lines)
    await jobs_api.call(jobs_api.jobs.FinishJob, request)
    output = (await tool("show", job.job_id)).out
    for words in ("Exception of attempt 1, fingerprint ", "Traceback:\n  line [2J", "warning   slow [2J page"):
        assert words in output
    whole = (await tool("show", job.job_id, "--json")).json
    assert whole["log"]["lines"][0]["level"] == "warning"
    assert whole["history"]["attempts"][0]["exception"]["type"] == "KeyError"


@pytest.mark.parametrize("command", ["show", "retry", "cancel", "watch"])
async def test_unknown_job_is_reported_in_one_line(tool: Tool, command: str) -> None:
    for job, text in ((str(ids.uuid7()), "job_not_found"), ("x", "job_id")):
        ended = await tool(command, job)
        assert (ended.code, ended.out, len(ended.err.splitlines())) == (1, "", 1)
        assert ended.err.startswith("jobs admin: ")
        assert text in ended.err


async def test_failures_are_reported_in_one_line(jobs_api: JobsApi, kind: str, tool: Tool) -> None:
    job = await jobs_api.submit(kind)
    for argv, changed, text in (
        (("retry", job.job_id), {}, "job_not_retryable"),
        (("limit", "Not A Kind", "--max-running", "1"), {}, "(kind)"),
        (("trigger", f"{kind}.none"), {}, "not"),
        (("kinds",), {"JOBS_TARGET": "127.0.0.1:1"}, "127.0.0.1:1 does not answer"),
        (("kinds",), {"IDENTITY_KEY": ""}, "IDENTITY_KEY is missing"),
        (("kinds",), {"IDENTITY_KEY": "not-a-key"}, "IDENTITY_KEY is not the private key"),
    ):
        ended = await tool(*argv, **changed)
        assert (ended.code, len(ended.err.splitlines())) == (1, 1), ended.err
        assert text in ended.err


async def test_another_service_may_read_jobs_but_not_change_them(
    jobs_api: JobsApi, kind: str, tool: Tool, seeds: dict[str, str]
) -> None:
    job: job_pb2.Job = await jobs_api.submit(kind)
    assert (await tool("show", job.job_id, IDENTITY_KEY=seeds["demo"])).code == 0
    refused = await tool("pause", kind, IDENTITY_KEY=seeds["demo"])
    assert (refused.code, "caller_not_allowed" in refused.err) == (1, True)


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("list", "--state", "asleep"),
        ("list", "--since", "999999d"),
        ("list", "--limit", "99999999999"),
        ("list", "--limit", "9" * 5_000),
        ("list", "--text", "\udcff"),
        ("search", "\udcff"),
        ("limit", "demo.x", "--rate", "often"),
        ("limit", "demo.x", "--rate", "99999999999/1s"),
        ("limit", "demo.x", "--rate", "5/99999999999999s"),
        ("limit", "demo.x", "--max-running", "2147483648"),
        ("bulk", "retry", "--per-second", "9999999999"),
        ("run", "demo.x", "--payload", '{"a": "\\ud800"}'),
        ("run", "demo.x", "--payload", '{"a":' * 300 + "1" + "}" * 300),
        ("replay", "x", "--set", 'a="\\ud800"'),
        ("show",),
    ],
    ids=lambda argv: " ".join(argv)[:40].encode("ascii", "replace").decode(),
)
async def test_invalid_arguments_show_the_usage(tool: Tool, argv: tuple[str, ...]) -> None:
    ended = await tool(*argv)
    assert (ended.code, ended.err.startswith("usage: ")) == (2, True)


async def test_exit_code_and_output_are_those_of_the_process(environment: dict[str, str]) -> None:
    for argv, code, start in (((), 2, "usage: "), (("show", "x"), 1, "jobs admin: "), (("--help",), 0, "")):
        ended = await ending(await begin(environment, *argv))
        assert (ended.code, ended.err.startswith(start), bool(ended.out)) == (code, True, code == 0)


async def test_closed_pipe_is_no_error(jobs_api: JobsApi, kind: str, environment: dict[str, str]) -> None:
    for _ in range(100):
        await jobs_api.submit(kind)
    process = await begin(environment, "list", "--kind", kind, "--limit", "100", "--json")
    assert process.stdout
    # Closed before the tool has anything to say.
    process.stdout._transport.close()  # type: ignore[attr-defined]
    ended = await ending(process)
    assert (ended.code, ended.err) == (0, "")


async def test_search_finds_jobs_kinds_and_errors(jobs_api: JobsApi, kind: str, tool: Tool) -> None:
    await jobs_api.submit(kind)
    (job,) = await jobs_api.claim(kind)
    await jobs_api.finish(job, failed=jobs_server.failed(f"refused_{kind[-6:]}"))
    for text, hits in (
        (job.job_id, {("job", job.job_id)}),
        (kind.upper(), {("kind", kind)}),
    ):
        result = (await tool("search", text, "--json")).json
        assert {(hit["type"], hit["name"]) for hit in result} == hits, text
    (group,) = (await tool("search", f"refused_{kind[-6:]}", "--json")).json
    assert (group["type"], group["details"]) == ("error", f"{kind} 1 failed: It did not work.")
    request_id = ids.uuid7_of(ids.timestamp_of(UUID(job.job_id)) - timedelta(seconds=1), kind)
    for text in (str(request_id), request_id.hex):
        assert ("job", job.job_id) in {
            (hit["type"], hit["name"]) for hit in (await tool("search", text, "--json")).json
        }
    for absent in (str(ids.uuid7_of(datetime(2020, 1, 1, tzinfo=UTC), kind)), "ffffffff-ffff-7fff-bfff-ffffffffffff"):
        nothing = await tool("search", absent)
        assert (nothing.code, nothing.out) == (1, "nothing found\n")
    address = await tool("search", "ada@example.com")
    assert (address.code, "/admin/search" in address.err) == (1, True)
    part = await tool("search", "user@host")
    assert (part.code, part.out) == (1, "nothing found\n")
    assert (await tool("list", "--owner", "ada@example.com")).code == 2


async def test_changes_of_a_kind_are_shown_with_who_made_them(kind: str, tool: Tool) -> None:
    await tool("pause", kind)
    (paused,) = [line for line in (await tool("kinds")).out.splitlines() if line.startswith(kind)]
    assert "since" in paused and " by " not in paused
    await tool("limit", kind, "--max-running", "3")
    lines = (await tool("kind", kind)).out.splitlines()
    assert [line.split()[2:] for line in lines[-2:]] == [
        ["limited", "3", "at", "once", "the", "command", "line"],
        ["paused", "-", "the", "command", "line"],
    ]


async def test_jobs_that_need_attention_are_counted_and_changed_by_their_problem(
    jobs_api: JobsApi, kind: str, tool: Tool
) -> None:
    await jobs_api.submit(kind)
    await tool("pause", kind)
    for problem, count in (("no_worker", 1), ("failing", 0)):
        counted = (await tool("count", "--kind", kind, "--problem", problem, "--json")).json
        assert int(counted.get("count", 0)) == count, problem
    changed = await tool("bulk", "cancel", "--kind", kind, "--problem", "no_worker", "--dry-run", "--json")
    assert int(changed.json["count"]) == 1
    assert "all" in (await tool("count", "--kind", kind, "--ended-since", "1h", "--not-kind", kind)).out


async def test_jobs_are_run_and_replayed_with_changes(jobs_api: JobsApi, kind: str, tool: Tool) -> None:
    await jobs_api.register(kind_pb2.KindRegistration(kind=kind, sensitive_fields=["token"]))
    ran = await tool("run", kind, "--payload", '{"count": 1, "token": "secret"}')
    job_id = ran.out.strip()
    (job,) = await jobs_api.claim(kind)
    assert (job.job_id, job.spec.payload["token"]) == (job_id, "secret")
    refused = await tool("replay", job_id, "--set", "count=2")
    assert refused.code == 1 and "token is hidden" in refused.err
    replayed = await tool("replay", job_id, "--set", "count=2", "--set", 'token="other"')
    (job,) = await jobs_api.claim(kind)
    payload = job.spec.payload
    assert (job.job_id, payload["count"], payload["token"]) == (replayed.out.strip(), 2, "other")
    for wrong in (("run", kind, "--payload", "[]"), ("replay", job_id, "--set", "count")):
        assert (await tool(*wrong)).code == 2


async def test_schedules_of_operators_are_made_shown_and_deleted(jobs_api: JobsApi, kind: str, tool: Tool) -> None:
    await jobs_api.register(kind_pb2.KindRegistration(kind=kind))
    name = f"operator.{kind[-8:]}"
    assert (await tool("set-schedule", name, kind, "0 3 * * *", "--time-zone", "Europe/Berlin")).code == 0
    result = await tool("schedule", name)
    assert "0 3 * * * Europe/Berlin" in result.out
    assert (await tool("delete-schedule", name)).out == "deleted\n"
    assert (await tool("schedule", name)).code == 1
