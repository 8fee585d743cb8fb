"""Composition root of the auth service: `python -m services.auth serve | work | migrate`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import exc

import worker
from chassis import bus, errors, identity, logs, outbox, postgres, run, settings
from chassis.rpc import client, server
from repruv.auth.v1 import auth_service_pb2_grpc
from services.auth import domain, schema, servicer
from services.auth.operations import Operations
from services.auth.passwords import Passwords
from services.auth.settings import Settings, WorkerSettings

logger = logging.getLogger(__name__)

CLEANING_SECONDS = 600.0
ADMIN_RETRY_SECONDS = 1.0


async def serve(config: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    own = config.own
    engine = postgres.engine(config.database_url, name="auth", own=own)
    events = bus.Bus(config.nats_url, name="auth", own=own)
    events.owns_stream("auth")
    relay = outbox.Relay(engine, schema.outbox, {"auth.events.": events.publish})
    events.on_connected(relay.wake)
    passwords = Passwords(memory_kib=config.password_memory_kib)
    operations = Operations(
        engine=engine,
        passwords=passwords,
        signer=identity.Signer("auth", config.identity_key),
        wake_relay=relay.wake,
        registrations_per_address=config.registrations_per_address,
    )
    serving = server.serving(
        listen=config.listen,
        services=[
            server.Service(
                name=servicer.SERVICE,
                register=partial(
                    auth_service_pb2_grpc.add_AuthServiceServicer_to_server, servicer.AuthServicer(operations)
                ),
                callers=servicer.CALLERS,
            )
        ],
        verifier=identity.Verifier(config.identity_trust),
        own=own,
        translate=postgres.translate,
    )
    try:
        if config.admin_email:
            await _seed_admin(operations, config, stop)
        async with run.Background(translate=postgres.translate) as background:
            background.start("bus", events.run)
            background.start("relay", relay.run)
            background.start("cleaning", partial(run.every, CLEANING_SECONDS, operations.delete_ended))
            async with serving:
                await stop.wait()
    finally:
        passwords.close()
        await engine.dispose()


async def work(config: WorkerSettings, stop: asyncio.Event) -> None:
    """Run jobs until `stop` is set."""
    own = config.own
    engine = postgres.engine(config.database_url, name="auth-worker", pool_size=config.worker_concurrency + 4, own=own)
    nats = bus.Bus(config.nats_url, name="auth-worker", own=own)
    channel = worker.client.channel(config.jobs_target, own)
    call = client.Caller(identity.Signer("auth", config.identity_key))
    relay = outbox.Relay(engine, schema.outbox, {"auth.events.": nats.publish})
    nats.on_connected(relay.wake)
    kinds: list[worker.Kind[Any]] = []
    schedules: list[worker.Schedule] = []
    runs = worker.Worker(
        name="auth",
        kinds=kinds,
        schedules=schedules,
        jobs=worker.JobsClient(channel, call),
        bus=nats,
        concurrency=config.worker_concurrency,
        metrics_listen=config.worker_metrics_listen,
        translate=postgres.translate,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        stack.push_async_callback(channel.close)
        background = await stack.enter_async_context(run.Background(translate=postgres.translate))
        background.start("bus", nats.run)
        background.start("relay", relay.run)
        await runs.run(stop)


async def _seed_admin(operations: Operations, config: Settings, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            await operations.ensure_admin(email=config.admin_email, password=config.admin_password)
        except errors.InvalidArgument as error:
            raise settings.SettingsError(f"ADMIN_{error.field.upper()} cannot be used: {error.message}") from error
        except domain.EmailTaken as error:
            said = "ADMIN_EMAIL belongs to an ordinary user, who is not promoted; choose an address nobody registered"
            if config.environment == "production":
                raise settings.SettingsError(said) from error
            logger.error(said)  # noqa: TRY400 - it is no accident that needs a traceback
            return
        except exc.SQLAlchemyError as error:
            if postgres.translate(error) is None:
                raise
            logger.warning("the admin waits for the database", extra={"cause": repr(error)[:200]})
            await asyncio.sleep(ADMIN_RETRY_SECONDS)
        else:
            return


def migrate(config: Settings) -> None:
    """Bring the tables up to date."""
    from chassis import migrations  # the image that serves has no Alembic

    migrations.upgrade(config.database_url, "auth", Path(__file__).parent / "migrations", own=config.own)


def main() -> None:
    """Read the settings and do what the command says."""
    command = sys.argv[1] if len(sys.argv) == 2 else ""
    if command not in {"serve", "work", "migrate"}:
        sys.exit("usage: python -m services.auth serve | work | migrate")
    try:
        _run(command)
    except settings.SettingsError as error:
        print(f"auth cannot start: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)


def _run(command: str) -> None:
    if command == "work":
        worker_config = settings.read(WorkerSettings, os.environ)
        logs.configure("auth-worker", level=worker_config.log_level, form=worker_config.log_format)
        run.until_signal(partial(work, worker_config))
        return
    config = settings.read(Settings, os.environ)
    logs.configure("auth", level=config.log_level, form=config.log_format)
    if command == "serve":
        run.until_signal(partial(serve, config))
    else:
        migrate(config)


if __name__ == "__main__":
    main()
