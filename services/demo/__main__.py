"""Composition root of the demo service: `python -m services.demo serve | work | migrate`."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import worker
from chassis import bus, exposition, identity, outbox, postgres, process, run
from chassis.outbox import metrics as outbox_metrics
from chassis.owner_rows import OwnerRows
from chassis.rpc import client, server
from lifecycle import unsuccessful_jobs
from lifecycle.settler import SWEEP_SECONDS, Settler
from lifecycle.submitter import LifecycleSubmitter
from lifecycle.subscriber import Subscriber
from services.demo import erasure, expiry, handlers, operations, owner_rows, reconciler, schema, servicer, views
from services.demo.declaration import DEMO_MODE
from services.demo.exports import domain as exports_domain
from services.demo.exports import handlers as exports_handlers
from services.demo.exports import operations as exports_operations
from services.demo.exports import servicer as exports_servicer
from services.demo.exports.declaration import EXPORT
from services.demo.settings import Settings, WorkerSettings
from worker import JobsClient
from worker import outbox as worker_outbox

MIGRATIONS = Path(__file__).parent / "migrations"


async def serve(config: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    certificate = config.certificate
    engine = postgres.engine(config.database_url, name="demo", pool_size=config.pool_size, certificate=certificate)
    nats = bus.Bus(config.nats_url, name="demo", certificate=certificate, translate=postgres.translate)
    nats.owns_stream("demo")
    # No retries here: an rpc waits for each call, and the outbox repeats submits.
    channel = client.channel(config.jobs_target, service=worker.client.SERVICE, certificate=certificate)
    jobs = JobsClient(channel, client.Caller(identity.Signer("demo", config.identity_key)))
    submitter = LifecycleSubmitter(engine, jobs, DEMO_MODE, EXPORT)
    relay = outbox.Relay(engine, schema.outbox, {"demo.events.": nats.publish, worker_outbox.PREFIX: submitter.send})
    settler = Settler(DEMO_MODE, engine=engine, relay=relay, jobs=jobs, submitter=submitter)
    demo = operations.Operations(engine, settler, relay)
    exports_settler = Settler(EXPORT, engine=engine, relay=relay, jobs=jobs, submitter=submitter)
    exports = exports_operations.Operations(engine, exports_settler, relay)
    nats.consume("jobs", "demo", Subscriber(settler, exports_settler).receive, filters=("demo.>",))
    nats.on_connected(relay.wake)
    maintenance = reconciler.Reconciler(engine)
    rows = OwnerRows(engine=engine, tables=owner_rows.TABLES, left_out=owner_rows.LEFT_OUT)
    demo_servicer = servicer.DemoServicer(demo, views.Views(engine), rows)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        stack.push_async_callback(channel.close)
        background = await stack.enter_async_context(run.Background(translate=postgres.translate))
        background.start("bus", nats.run)
        background.start("relay", relay.run)
        background.start("settle", partial(nats.every, SWEEP_SECONDS, settler.sweep))
        background.start("settle exports", partial(nats.every, SWEEP_SECONDS, exports_settler.sweep))
        unsuccessful = unsuccessful_jobs.UnsuccessfulJobs(jobs, settler, exports_settler)
        background.start(
            "settle unsuccessful", partial(nats.every, unsuccessful_jobs.PASS_SECONDS, unsuccessful.settle)
        )
        background.repeat("expire exports", exports_operations.EXPIRY_SECONDS, exports.expire)
        background.repeat("end stalled transactions", reconciler.STALLED_SECONDS, maintenance.end_stalled_transactions)
        background.repeat("delete orphaned rows", reconciler.ORPHANS_SECONDS, maintenance.delete_orphaned_rows)
        background.repeat("delete old keys", reconciler.KEYS_SECONDS, maintenance.delete_old_keys)
        await stack.enter_async_context(
            server.serving(
                listen=config.listen,
                services=[
                    server.Service.from_servicer(demo_servicer, servicer.CALLERS, servicer.SCOPES),
                    server.Service.from_servicer(
                        exports_servicer.ExportsServicer(exports), exports_servicer.CALLERS, exports_servicer.SCOPES
                    ),
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


async def work(config: WorkerSettings, stop: asyncio.Event) -> None:
    """Run jobs until `stop` is set."""
    certificate = config.certificate
    engine = postgres.engine(
        config.database_url,
        name="demo-worker",
        pool_size=config.pool_size,
        autocommit_size=2,
        certificate=certificate,
    )
    nats = bus.Bus(config.nats_url, name="demo-worker", certificate=certificate)
    channel = worker.client.channel(config.jobs_target, certificate)
    call = client.Caller(identity.Signer("demo", config.identity_key))
    jobs = JobsClient(channel, call)
    submitter = LifecycleSubmitter(engine, jobs, DEMO_MODE, EXPORT)
    # A relay here too: the event of a transition is sent when it is committed, not when a replica of `serve` polls next.
    relay = outbox.Relay(engine, schema.outbox, {"demo.events.": nats.publish, worker_outbox.PREFIX: submitter.send})
    nats.on_connected(relay.wake)
    settler = Settler(DEMO_MODE, engine=engine, relay=relay, jobs=jobs, submitter=submitter)
    dependencies = handlers.Dependencies(
        engine=engine,
        relay=relay,
        pause_seconds=config.demo_batch_pause_ms / 1000,
        write_batch=handlers.PAUSED_BATCH if config.demo_batch_pause_ms else handlers.WRITE_BATCH,
        remove_batch=handlers.PAUSED_BATCH if config.demo_batch_pause_ms else handlers.REMOVE_BATCH,
        failing=config.failing,
    )
    demo_worker = worker.Worker(
        name="demo",
        kinds=[
            worker.Kind("demo.enable", partial(handlers.enable, dependencies), notify_owner=True),
            worker.Kind("demo.disable", partial(handlers.disable, dependencies), notify_owner=True),
            worker.Kind(exports_domain.KIND, partial(exports_handlers.export, dependencies), notify_owner=True),
            expiry.kind(engine, operations.Operations(engine, settler, relay)),
            erasure.kind(engine),
        ],
        schedules=[expiry.SCHEDULE],
        jobs=jobs,
        bus=nats,
        concurrency=config.worker_concurrency,
        metrics_address=config.metrics_address,
        translate=postgres.translate,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        stack.push_async_callback(channel.close)
        background = await stack.enter_async_context(run.Background(translate=postgres.translate))
        background.start("bus", nats.run)
        background.start("relay", relay.run)
        await demo_worker.run(stop)


def main() -> None:
    """Run the command of the command line."""
    process.main(
        "services.demo",
        os.environ,
        {
            "serve": process.Command("demo", Settings, process.run_until_stopped(serve)),
            "work": process.Command("demo-worker", WorkerSettings, process.run_until_stopped(work)),
            "migrate": process.Command("demo", Settings, process.migration("demo", MIGRATIONS)),
        },
    )


if __name__ == "__main__":
    main()
