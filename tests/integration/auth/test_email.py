"""Emails by SMTP and into a folder: refusals, retries, and no links in logs."""

from __future__ import annotations

import asyncio
import email.parser
import logging
import random
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import circuit_breaker
from chassis.rpc import client
from dev import subprocesses
from services.auth import email_handler, servicer
from services.auth.email import jobs as email_jobs
from services.auth.email import smtp, templates
from services.auth.email.folder import Folder
from services.auth.email.message import Email, Sender
from services.auth.email.senders import open_sender
from services.jobs import domain as jobs_domain
from services.jobs import outcomes
from tests.integration.auth.client import Gateway, new_address, new_email
from tests.integration.auth.conftest import PUBLIC_URL, AuthProcesses
from worker import testing

FROM = "Repruv <no-reply@example.org>"


@dataclass
class MailServer:
    """Speaks enough SMTP to receive an email; its answer to RCPT is configurable."""

    recipient_answer: str = "250 fine"
    is_frozen: bool = False
    connections: int = 0
    offers_tls: bool = False
    received: list[str] = field(default_factory=list)
    port: int = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())

        self.connections += 1
        if self.is_frozen:
            await reader.read()  # until the client gives up
            writer.close()
            return
        say("220 mail.test")
        while line := (await reader.readline()).decode().strip():
            verb = line[:4].upper()
            if verb in ("EHLO", "HELO"):
                say("250 mail.test")
            elif verb == "RCPT":
                say(self.recipient_answer)
            elif verb == "DATA":
                say("354 go on")
                self.received.append((await reader.readuntil(b"\r\n.\r\n")).decode())
                say("250 taken")
            elif verb == "QUIT":
                say("221 bye")
                break
            else:
                say("250 fine")
        await writer.drain()
        writer.close()


@pytest.fixture
async def mail_server() -> AsyncIterator[MailServer]:
    """Yield a running mail server."""
    smtp_server = MailServer()
    server = await asyncio.start_server(smtp_server.converse, "127.0.0.1", 0)
    smtp_server.port = server.sockets[0].getsockname()[1]
    yield smtp_server
    server.close()
    await server.wait_closed()


def written(path: Path) -> list[str]:
    """Return the emails in a folder."""
    return [file.read_text() for file in path.glob("*.eml")]


def mailer(engine: AsyncEngine, url: str, *, is_production: bool = False) -> email_handler.EmailJobHandler:
    sender: Sender = open_sender(url, sender=FROM, is_production=is_production)
    return email_handler.EmailJobHandler(engine=engine, sender=sender, public_url=PUBLIC_URL, renderers={})


async def send(mailer: email_handler.EmailJobHandler, user_id: str) -> dict[str, str]:
    payload = email_jobs.Payload(email_jobs.Purpose.VERIFY, user_id=user_id)
    return await mailer.send(testing.RecordingContext(), payload)


async def test_an_email_is_sent_to_the_mail_server(
    gateway: Gateway, engine: AsyncEngine, mail_server: MailServer
) -> None:
    account = await gateway.account()
    assert await send(mailer(engine, f"smtp://127.0.0.1:{mail_server.port}"), account.user_id) == {"outcome": "sent"}
    [received] = mail_server.received
    assert f"To: {account.email}" in received
    assert f"From: {FROM}" in received
    assert "Subject: Verify your email address" in received


async def test_attempts_send_one_message_id_unless_each_has_its_own_link(
    gateway: Gateway, engine: AsyncEngine, mail_server: MailServer
) -> None:
    account = await gateway.account()
    sender, context = mailer(engine, f"smtp://127.0.0.1:{mail_server.port}"), testing.RecordingContext()
    for purpose in (email_jobs.Purpose.ALREADY_REGISTERED, email_jobs.Purpose.RESET):
        payload = email_jobs.Payload(purpose, email=account.email)
        for _ in range(2):
            assert await sender.send(context, payload) == {"outcome": "sent"}
    message_ids = [email.parser.HeaderParser().parsestr(text)["Message-ID"] for text in mail_server.received]
    assert message_ids[0] == message_ids[1] == f"<{context.job_id}@example.org>"
    # Of two copies with one id a receiver would drop the one whose link works.
    assert len(set(message_ids)) == 3


@pytest.mark.parametrize(
    ("answer", "code", "retryable"),
    [("550 nobody", "email_refused", False), ("450 later", "email_unavailable", True)],
)
async def test_smtp_replies_decide_between_retry_and_failure(
    gateway: Gateway, engine: AsyncEngine, mail_server: MailServer, answer: str, code: str, retryable: bool
) -> None:
    mail_server.recipient_answer = answer
    account = await gateway.account()
    with pytest.raises(worker.JobFailed) as excinfo:
        await send(mailer(engine, f"smtp://127.0.0.1:{mail_server.port}"), account.user_id)
    assert (excinfo.value.code, excinfo.value.retryable) == (code, retryable)


async def test_production_refuses_a_mail_server_without_tls(
    gateway: Gateway, engine: AsyncEngine, mail_server: MailServer
) -> None:
    account = await gateway.account()
    strict = mailer(engine, f"smtp://127.0.0.1:{mail_server.port}", is_production=True)
    with pytest.raises(worker.JobFailed) as excinfo:
        await send(strict, account.user_id)
    assert (excinfo.value.code, mail_server.received) == ("email_unavailable", [])


async def test_an_unreachable_server_is_retried_and_no_link_is_logged(
    gateway: Gateway, engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    account = await gateway.account()
    with caplog.at_level(logging.DEBUG), pytest.raises(worker.JobFailed) as excinfo:
        await send(mailer(engine, f"smtp://127.0.0.1:{subprocesses.free_port()}"), account.user_id)
    assert excinfo.value.retryable
    assert "rpl_" not in caplog.text + str([vars(record) for record in caplog.records])


async def test_few_emails_wait_for_a_frozen_server_until_it_answers(
    gateway: Gateway, engine: AsyncEngine, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "SEND_SECONDS", 2.0)
    account = await gateway.account()
    handler = mailer(engine, f"smtp://127.0.0.1:{mail_server.port}")

    async def send_many() -> list[str]:
        """Send what a worker runs at once, and return the outcomes."""
        payload = email_jobs.Payload(email_jobs.Purpose.ALREADY_REGISTERED, email=account.email)
        attempts = [handler.send(testing.RecordingContext(), payload) for _ in range(8)]
        results = await asyncio.gather(*attempts, return_exceptions=True)
        return [result["outcome"] if isinstance(result, dict) else getattr(result, "code", "") for result in results]

    mail_server.is_frozen = True
    assert await send_many() == ["email_unavailable"] * 8
    mail_server.connections = 0
    assert await send_many() == ["email_unavailable"] * 8
    assert mail_server.connections == circuit_breaker.MAX_TRIES
    mail_server.is_frozen = False
    monkeypatch.setattr(smtp, "SEND_SECONDS", 60.0)
    assert set(await send_many()) == {"sent", "email_unavailable"}
    assert await send_many() == ["sent"] * 8


def test_retries_outlast_a_mail_server_that_is_down_for_six_hours(engine: AsyncEngine, tmp_path: Path) -> None:
    [registration] = email_handler.kind(mailer(engine, f"folder:{tmp_path}")).registrations()
    defaults = registration.defaults
    spec = jobs_domain.Spec(
        kind=registration.kind,
        owner_id=uuid.UUID(int=0),
        payload={},
        max_attempts=defaults.max_attempts,
        backoff=defaults.backoff.ToTimedelta(),
        max_backoff=defaults.max_backoff.ToTimedelta(),
    )
    jitter = random.Random(0)
    durations = [
        sum(
            (outcomes.backoff(spec, errors, jitter=jitter.random()) for errors in range(1, spec.max_attempts)),
            timedelta(),
        )
        for _ in range(500)
    ]
    assert min(durations) >= timedelta(hours=6)


async def test_a_folder_logs_links(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mail = templates.verify("ada@example.org", public_url=PUBLIC_URL, token="rpl_secret")
    with caplog.at_level(logging.INFO):
        await Folder(tmp_path, sender=FROM).send(mail)
    assert "rpl_secret" in str([vars(record) for record in caplog.records])
    assert len(written(tmp_path)) == 1


@pytest.mark.parametrize("changed", [{"to": "a@b.c\r\nBcc: x@y.z"}, {"subject": "hello\r\nBcc: x@y.z"}])
async def test_header_injection_is_refused(tmp_path: Path, changed: dict[str, str]) -> None:
    fields = {"to": "ada@example.org", "subject": "hello", "text": "…", **changed}
    with pytest.raises(ValueError):
        await open_sender(f"folder:{tmp_path}", sender=FROM, is_production=False).send(Email(**fields))


def test_html_is_escaped() -> None:
    mail = templates.verify("ada@example.org", public_url='https://x.example/"><script>', token="t&t")
    assert "<script>" not in mail.html
    assert "&quot;&gt;&lt;script&gt;" in mail.html


async def test_registration_email_end_to_end(
    auth_processes: AuthProcesses,
    signer: Callable[[str], Any],
    tmp_path: Path,
    eventually: Any,
) -> None:
    target, stop, running = auth_processes
    channel = client.channel(target, service=servicer.SERVICE)
    email = new_email()

    async def is_registered() -> bool:
        assert not running.done()
        try:
            await Gateway(channel, client.Caller(signer("gateway"))).register(email, ip_address=new_address())
        except Exception as error:  # noqa: BLE001 - until it serves
            return getattr(error, "code", "") == "email_taken"
        return True

    async def has_mail() -> bool:
        assert not running.done()
        return any(f"To: {email}" in text for text in written(tmp_path))

    try:
        await eventually(is_registered)
        await eventually(has_mail)
    finally:
        stop.set()
        await asyncio.wait_for(running, 60)
        await channel.close()
