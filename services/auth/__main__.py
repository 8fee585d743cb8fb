"""Composition root of the auth service: `python -m services.auth serve | work | migrate | …`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import bus, errors, exposition, identity, outbox, postgres, process, run, settings
from chassis.outbox import metrics as outbox_metrics
from chassis.rpc import client, server
from lifecycle import unsuccessful_jobs
from lifecycle.settler import SWEEP_SECONDS, Settler
from lifecycle.submitter import LifecycleSubmitter
from lifecycle.subscriber import Subscriber
from services.auth import domain, email_handler, maintenance, schema, servicer
from services.auth.admin import revoke_all_sessions, seed
from services.auth.admin import servicer as admin_servicer
from services.auth.api_tokens import servicer as token_servicer
from services.auth.api_tokens.operations import ApiTokens
from services.auth.connections import demo_client, platform_settings, platforms, wiring
from services.auth.connections.effects import Effects
from services.auth.connections.handlers import kinds as connection_kinds
from services.auth.context import Context
from services.auth.data_export import handlers as data_export_handlers
from services.auth.data_export import servicer as data_export_servicer
from services.auth.data_export.declaration import DATA_EXPORT
from services.auth.data_export.operations import EXPIRY_SECONDS, DataExports
from services.auth.data_export.sources import Sources
from services.auth.deletion import handlers as deletion_handlers
from services.auth.encryption import key_rotation
from services.auth.notifications import ended_jobs
from services.auth.notifications import subscriber as notifications
from services.auth.passkeys import servicer as passkey_servicer
from services.auth.passwords import Passwords
from services.auth.second_factor.storage import ENCRYPTED_SECRET
from services.auth.settings import Settings, WorkerSettings
from worker import JobsClient
from worker import outbox as worker_outbox

logger = logging.getLogger(__name__)

CLEANING_SECONDS = 600.0
ADMIN_RETRY_SECONDS = 1.0
END_SESSIONS_SECONDS = 600.0
COMMAND_POOL_SIZE = 2
"""Connections of a command that runs once."""

ENCRYPTED_COLUMNS = [ENCRYPTED_SECRET, *wiring.encrypted_columns()]
"""The columns that ENCRYPTION_KEYS encrypt."""

MIGRATIONS = Path(__file__).parent / "migrations"


async def serve(config: Settings, stop: asyncio.Event, *, offered: Sequence[platforms.Platform] = ()) -> None:
    """Serve until `stop` is set. Users may connect the platforms in `offered`."""
    certificate = config.certificate
    engine = postgres.engine(config.database_url, name="auth", pool_size=config.pool_size, certificate=certificate)
    nats = bus.Bus(config.nats_url, name="auth", certificate=certificate)
    nats.owns_stream("auth")
    signer = identity.Signer("auth", config.identity_key)
    # No retries here: the outbox repeats a submit that did not arrive.
    jobs_channel = client.channel(config.jobs_target, service=worker.client.SERVICE, certificate=certificate)
    demo_channel = client.channel(config.demo_target, service=demo_client.SERVICE, certificate=certificate)
    call = client.Caller(signer)
    jobs = JobsClient(jobs_channel, call)
    submitter, relay, connections = _connections(config, engine, jobs, nats, offered)
    settler = Settler(DATA_EXPORT, engine=engine, relay=relay, jobs=jobs, submitter=submitter)
    lifecycles, emails = Subscriber(connections.settler, settler), notifications.Subscriber(jobs)

    async def receive(message: bus.Received) -> None:
        await (emails if emails.consumes(message.subject) else lifecycles).receive(message)

    nats.consume("jobs", "auth", receive, filters=("auth.>", notifications.FILTER))
    nats.on_connected(relay.wake)
    passwords = Passwords(memory_kib=config.password_memory_kib)
    context = Context(
        engine=engine,
        passwords=passwords,
        signer=signer,
        keyring=config.keyring,
        relay=relay,
        registrations_per_address=config.registrations_per_address,
        max_guests=config.max_guests,
        is_registration_open=config.is_registration_open,
        verification_period=config.verification_period,
        deletion_grace=config.deletion_grace,
        relying_party=config.relying_party,
    )
    data_exports = DataExports(context, settler)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        stack.push_async_callback(demo_channel.close)
        stack.push_async_callback(jobs_channel.close)
        stack.push_async_callback(connections.close)
        stack.callback(passwords.close)
        if config.admin_email:
            await seed_admin(context, config, stop)
        background = await stack.enter_async_context(run.Background(translate=postgres.translate))
        background.start("bus", nats.run)
        background.start("relay", relay.run)
        background.repeat("delete expired", CLEANING_SECONDS, partial(maintenance.delete_expired, engine))
        background.start("settle", partial(nats.every, SWEEP_SECONDS, connections.settler.sweep))
        background.start("settle data exports", partial(nats.every, SWEEP_SECONDS, settler.sweep))
        unsuccessful = unsuccessful_jobs.UnsuccessfulJobs(jobs, connections.settler, settler)
        background.start(
            "settle unsuccessful", partial(nats.every, unsuccessful_jobs.PASS_SECONDS, unsuccessful.settle)
        )
        background.repeat("expire data exports", EXPIRY_SECONDS, data_exports.expire)
        await stack.enter_async_context(
            server.serving(
                listen=config.listen,
                services=[
                    server.Service.from_servicer(servicer.AuthServicer(context), servicer.CALLERS),
                    server.Service.from_servicer(
                        admin_servicer.AuthAdminServicer(context, connections.effects), admin_servicer.CALLERS
                    ),
                    server.Service.from_servicer(passkey_servicer.PasskeyServicer(context), passkey_servicer.CALLERS),
                    server.Service.from_servicer(token_servicer.ApiTokenServicer(context), token_servicer.CALLERS),
                    server.Service.from_servicer(
                        data_export_servicer.DataExportServicer(data_exports), data_export_servicer.CALLERS
                    ),
                    connections.service(demo_client.DemoMode(demo_channel, call)),
                ],
                verifier=identity.Verifier(config.trusted_identity_keys),
                certificate=certificate,
                translate=postgres.translate_call,
            )
        )
        # Last: it is the health check, and listens only while the process serves.
        measured = exposition.registry(outbox_metrics.measurement(engine, schema.outbox))
        await stack.enter_async_context(exposition.serving(config.metrics_address, measured))
        await stop.wait()


async def work(
    config: WorkerSettings,
    stop: asyncio.Event,
    *,
    offered: Sequence[platforms.Platform] = (),
    withdrawn: Sequence[platforms.Platform] = (),
) -> None:
    """Run jobs until `stop` is set. Users may connect `offered` platforms; tokens of `withdrawn` ones are revoked."""
    certificate = config.certificate
    engine = postgres.engine(
        config.database_url,
        name="auth-worker",
        pool_size=config.pool_size,
        autocommit_size=2,
        certificate=certificate,
    )
    nats = bus.Bus(config.nats_url, name="auth-worker", certificate=certificate)
    channel = worker.client.channel(config.jobs_target, certificate)
    demo_channel = client.channel(config.demo_target, service=demo_client.SERVICE, certificate=certificate)
    call = client.Caller(identity.Signer("auth", config.identity_key))
    jobs = JobsClient(channel, call)
    # A relay here too: the event of a transition is sent when it is committed, not when a replica of `serve` polls next.
    _, relay, connections = _connections(config, engine, jobs, nats, offered, withdrawn)
    nats.on_connected(relay.wake)
    emails = email_handler.EmailJobHandler(
        engine=engine,
        sender=config.open_sender(),
        public_url=config.public_url,
        renderers={
            ended_jobs.PURPOSE: ended_jobs.EndedJobs(engine=engine, jobs=jobs, public_url=config.public_url).render
        },
    )
    kinds: list[worker.Kind[Any]] = [
        email_handler.kind(emails),
        key_rotation.kind(engine, config.keyring, ENCRYPTED_COLUMNS),
    ]
    kinds += connections.kinds(jobs)
    kinds += deletion_handlers.Erasure(
        engine=engine, relay=relay, effects=connections.effects, jobs_client=jobs
    ).kinds()
    sources = Sources(engine=engine, demo_channel=demo_channel, call=call, jobs=jobs)
    kinds.append(data_export_handlers.Exporter(engine=engine, relay=relay, sources=sources).kind())
    schedules: list[worker.Schedule] = [key_rotation.SCHEDULE, deletion_handlers.SCHEDULE, *connection_kinds.SCHEDULES]
    auth_worker = worker.Worker(
        name="auth",
        kinds=kinds,
        schedules=schedules,
        jobs=jobs,
        bus=nats,
        concurrency=config.worker_concurrency,
        metrics_address=config.metrics_address,
        translate=postgres.translate,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        stack.push_async_callback(channel.close)
        stack.push_async_callback(demo_channel.close)
        stack.push_async_callback(connections.close)
        background = await stack.enter_async_context(run.Background(translate=postgres.translate))
        background.start("bus", nats.run)
        background.start("relay", relay.run)
        await auth_worker.run(stop)


def _connections(
    config: Settings | WorkerSettings,
    engine: AsyncEngine,
    jobs: JobsClient,
    nats: bus.Bus,
    offered: Sequence[platforms.Platform],
    withdrawn: Sequence[platforms.Platform] = (),
) -> tuple[LifecycleSubmitter, outbox.Relay, wiring.Wiring]:
    """Return the submitter, the relay and the wiring of connections, which `serve` and `work` share."""
    effects = Effects({platform.name: platform.title for platform in (*offered, *withdrawn)})
    submitter = LifecycleSubmitter(engine, jobs, effects.lifecycle(), DATA_EXPORT)
    relay = outbox.Relay(engine, schema.outbox, {"auth.events.": nats.publish, worker_outbox.PREFIX: submitter.send})
    connections = wiring.Wiring(
        engine=engine,
        jobs=jobs,
        submitter=submitter,
        effects=effects,
        relay=relay,
        offered=offered,
        withdrawn=withdrawn,
        keyring=config.keyring,
        public_url=config.public_url,
    )
    return submitter, relay, connections


async def rotate_keys(config: Settings) -> None:
    """Re-encrypt what older keys encrypted, once."""
    engine = postgres.engine(
        config.database_url, name="auth-rotate-keys", pool_size=COMMAND_POOL_SIZE, certificate=config.certificate
    )
    try:
        outcome = await key_rotation.rotate_keys(engine, config.keyring, ENCRYPTED_COLUMNS)
    finally:
        await engine.dispose()
    logger.info("secrets re-encrypted", extra={"count": outcome.reencrypted, "lost": outcome.lost})
    if outcome.lost:
        sys.exit(1)


@asynccontextmanager
async def _shell_context(config: Settings, name: str) -> AsyncIterator[Context]:
    """Yield the context of a command. The relays of `serve` processes publish its messages."""
    engine = postgres.engine(
        config.database_url, name=name, pool_size=COMMAND_POOL_SIZE, certificate=config.certificate
    )
    passwords = Passwords(memory_kib=config.password_memory_kib)
    try:
        yield Context(
            engine=engine,
            passwords=passwords,
            signer=identity.Signer("auth", config.identity_key),
            keyring=config.keyring,
            relay=None,
            registrations_per_address=config.registrations_per_address,
        )
    finally:
        passwords.close()
        await engine.dispose()


async def end_sessions(config: Settings) -> None:
    """Revoke the sessions and API tokens of all users, admins included."""
    async with _shell_context(config, "auth-end-sessions") as context:
        result = await revoke_all_sessions.revoke_all_sessions(context, admin=None, seconds=END_SESSIONS_SECONDS)
    print(f"{result.count} sessions and API tokens ended")  # noqa: T201
    if result.has_more:
        sys.exit("some sessions are left: run the command again")


async def revoke_token(config: Settings) -> None:
    """Revoke the API token on standard input, for tokens that have leaked."""
    token = sys.stdin.readline().strip()
    async with _shell_context(config, "auth-revoke-token") as context:
        token_id = await ApiTokens(context).revoke_leaked(token)
    if token_id is None:
        sys.exit("this is not the API token of an account")
    print(f"API token {token_id} is revoked")  # noqa: T201


async def create_admin(config: Settings) -> None:
    """Create an admin with the address and the password of the settings, beside others."""
    if not config.admin_email:
        raise settings.SettingsError("ADMIN_EMAIL and ADMIN_PASSWORD are missing")
    async with _shell_context(config, "auth-create-admin") as context:
        await seed_admin(context, config, asyncio.Event(), beside_others=True)


async def seed_admin(context: Context, config: Settings, stop: asyncio.Event, *, beside_others: bool = False) -> None:
    """Create the admin named by the settings as soon as the database answers; unless `beside_others`, only the first one."""
    while not stop.is_set():
        try:
            await seed.ensure_admin(
                context, email=config.admin_email, password=config.admin_password, beside_others=beside_others
            )
        except errors.InvalidArgument as error:
            raise settings.SettingsError(f"ADMIN_{error.field.upper()} cannot be used: {error.message}") from error
        except domain.EmailTaken as error:
            message = (
                "ADMIN_EMAIL belongs to an ordinary user, who is not promoted; choose an address that is not registered"
            )
            if beside_others or config.environment == "production":
                raise settings.SettingsError(message) from error
            logger.error(message)  # noqa: TRY400 - the message is complete without a traceback
            return
        except exc.SQLAlchemyError as error:
            if postgres.translate(error) is None:
                raise
            logger.warning("the admin waits for the database", extra={"cause": repr(error)[:200]})
            await asyncio.sleep(ADMIN_RETRY_SECONDS)
        else:
            return


def _serve(config: Settings) -> None:
    process.until_signal(partial(serve, config, offered=platform_settings.read(os.environ)))


def _work(config: WorkerSettings) -> None:
    offered, withdrawn = platform_settings.read(os.environ), platform_settings.withdrawn(os.environ)
    process.until_signal(partial(work, config, offered=offered, withdrawn=withdrawn))


def main() -> None:
    """Run the command of the command line."""
    process.main(
        "services.auth",
        os.environ,
        {
            "serve": process.Command("auth", Settings, _serve),
            "work": process.Command("auth-worker", WorkerSettings, _work),
            "migrate": process.Command("auth", Settings, process.migration("auth", MIGRATIONS)),
            "rotate-keys": process.Command(
                "auth",
                Settings,
                lambda config: asyncio.run(rotate_keys(config)),
                about="encrypt again, with the newest key, what older ones encrypted",
            ),
            "create-admin": process.Command(
                "auth",
                Settings,
                lambda config: asyncio.run(create_admin(config)),
                about="create an administrator with ADMIN_EMAIL and ADMIN_PASSWORD, beside others",
            ),
            "revoke-token": process.Command(
                "auth",
                Settings,
                lambda config: asyncio.run(revoke_token(config)),
                about="revoke a leaked API token, which it reads from standard input",
            ),
            "end-sessions": process.Command(
                "auth",
                Settings,
                lambda config: asyncio.run(end_sessions(config)),
                about="end the sessions and API tokens of all users, administrators included",
            ),
        },
    )


if __name__ == "__main__":
    main()
