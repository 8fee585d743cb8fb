"""Emails of the auth service: runs their jobs when a test asks for it."""

from __future__ import annotations

import asyncio
import re
from email import policy as email_policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import pydantic

import worker
from repruv.jobs.v1 import jobs_service_pb2
from services.auth import email_handler
from services.auth.email import jobs as email_jobs
from tests.integration.auth.client import Account
from worker import testing


class Mailbox:
    """Stands in for the jobs service and the worker: email jobs run when a test asks for it."""

    def __init__(self, handler: email_handler.EmailJobHandler, folder: Path) -> None:
        self._handler = handler
        self._folder = folder
        self._submitted: dict[str, email_jobs.Payload] = {}

    async def submit(self, message_id: str, subject: str, payload: bytes) -> None:
        """Accept a job, once: on a busy machine the relay repeats a submit whose answer it has."""
        request = jobs_service_pb2.SubmitJobRequest.FromString(payload)
        spec = request.spec
        if spec.kind in ("auth.disconnect", "auth.export-data"):
            return
        assert (spec.kind, spec.owner_id) == (email_jobs.KIND, worker.SYSTEM)
        fields = dict(spec.payload)
        assert not any("rpl_" in str(value) for value in fields.values())
        self._submitted.setdefault(request.job_id, pydantic.TypeAdapter(email_jobs.Payload).validate_python(fields))

    def jobs(self, account: Account | str, purpose: str) -> list[email_jobs.Payload]:
        """Return the jobs of an account or an address."""
        names = {account} if isinstance(account, str) else {account.user_id, account.email}
        jobs = [job for job in self._submitted.values() if job.user_id in names or job.email in names]
        return [job for job in jobs if job.purpose == purpose]

    async def deliver(self, account: Account | str, purpose: str, *, times: int = 1) -> EmailMessage:
        """Wait for the given number of jobs, send the last email, and return it."""
        async with asyncio.timeout(60):
            while len(jobs := self.jobs(account, purpose)) < times:
                await asyncio.sleep(0.01)
        before = set(self._folder.glob("*.eml"))
        assert (await self._handler.send(testing.RecordingContext(), jobs[-1]))["outcome"] == "sent"
        [path] = set(self._folder.glob("*.eml")) - before
        return BytesParser(policy=email_policy.default).parsebytes(path.read_bytes())

    async def link(self, account: Account | str, purpose: str, *, times: int = 1) -> str:
        """Return the secret of the link in an email."""
        return token_in(await self.deliver(account, purpose, times=times))

    async def run(self, payload: email_jobs.Payload) -> dict[str, str]:
        """Run a job."""
        return await self._handler.send(testing.RecordingContext(), payload)


def token_in(message: EmailMessage) -> str:
    """Return the secret of the link in an email."""
    text = message.get_body(("plain",))
    assert text is not None
    [token] = set(re.findall(r"token=(rpl_[A-Za-z0-9_-]{43})", text.get_content()))
    return str(token)
