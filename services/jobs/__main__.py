"""Composition root of the jobs service: `python -m services.jobs serve | migrate | admin …`."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import worker
from chassis import bus, identity, outbox, postgres, process, run
from chassis.owner_rows import OwnerRows
from chassis.rpc import client, server
from services.jobs import (
    access,
    backlog,
    handlers,
    maintenance,
    metrics,
    notifications,
    operations,
    owner_rows,
    reconciler,
    rescuer,
    schema,
    servicer,
    watches,
)
from services.jobs.operators import bulk, error_groups, holds, job_search, kind_controls, overview, runs
from services.jobs.operators import servicer as admin_servicer
from services.jobs.rates import reader as rates_reader
from services.jobs.rates import recorder
from services.jobs.schedules import operations as schedule_operations
from services.jobs.settings import Settings

CONCURRENCY = 4
DRAIN_SECONDS = 1.0
"""Jobs of this service that have not ended by then resume in their next attempt."""

MIGRATIONS = Path(__file__).parent / "migrations"


async def serve(config: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    certificate = config.certificate
    engine = postgres.engine(
        config.database_url,
        name="jobs",
        pool_size=config.pool_size,
        autocommit_size=10,
        certificate=certificate,
        lock_seconds=operations.LOCK_SECONDS,
        idle_seconds=operations.IDLE_SECONDS,
    )
    nats = bus.Bus(config.nats_url, name="jobs", certificate=certificate)
    nats.owns_stream("jobs")
    relay = outbox.Relay(engine, schema.outbox, {"jobs.events.": nats.publish})
    jobs = operations.Operations(engine, relay, nats, lease=timedelta(seconds=config.jobs_lease_seconds))
    job_watches = watches.Watches(engine, jobs)
    job_watches.subscribe(nats)
    jobs.waiters.subscribe(nats)
    rows = OwnerRows(engine=engine, tables=owner_rows.TABLES, left_out=owner_rows.LEFT_OUT)
    jobs_servicer = servicer.JobsServicer(jobs, job_watches, notifications.Notifications(engine, nats), rows)
    schedules = schedule_operations.Schedules(engine, jobs.transaction, jobs.kinds, jobs.backlog)
    job_overview = overview.Overview(engine)
    search = job_search.JobSearch(engine)
    job_holds = holds.Holds(jobs)
    changes = bulk.Bulk(jobs, job_holds, search)
    admin = admin_servicer.AdminServicer(
        search,
        job_holds,
        changes,
        error_groups.ErrorGroups(engine),
        rates_reader.Reader(engine),
        job_overview,
        kind_controls.KindControls(jobs),
        schedules,
        jobs,
        runs.Runs(jobs),
    )
    job_maintenance = maintenance.Maintenance(jobs)
    nats.on_changed(jobs.changed.set)
    loops = reconciler.Reconciler(job_maintenance, is_caught_up=lambda: nats.is_caught_up)
    nats.on_connected(relay.wake)
    channel = worker.client.channel(_own_target(config.listen), certificate, pings=False)
    job_worker = worker.Worker(
        name="jobs",
        kinds=handlers.kinds(engine, changes),
        schedules=handlers.schedules(),
        jobs=worker.JobsClient(channel, client.Caller(identity.Signer("jobs", config.identity_key))),
        bus=nats,
        concurrency=CONCURRENCY,
        drain_seconds=DRAIN_SECONDS,
        metrics_address=config.metrics_address,
        registries=[metrics.registry(engine, job_overview, job_watches)],
        translate=postgres.translate,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        stack.push_async_callback(channel.close)
        background = await stack.enter_async_context(run.Background(translate=postgres.translate))
        background.start("bus", nats.run)
        background.start("relay", relay.run)
        background.start("rescuer", rescuer.Rescuer(job_maintenance).run)
        background.start("reconciler", loops.run)
        background.start("fire schedules", schedules.run)
        background.start("record rates", recorder.Recorder(engine).run)
        background.repeat("measure backlog", backlog.MEASURE_SECONDS, jobs.backlog.measure)
        background.repeat("repair missed", reconciler.REPAIR_SECONDS, loops.repair_missed)
        background.repeat("end overrun attempts", reconciler.OVERRUN_SECONDS, loops.end_overrun_attempts)
        background.start("read watches", job_watches.read)
        background.start("poll watches", job_watches.poll)
        await stack.enter_async_context(
            server.serving(
                listen=config.listen,
                services=[
                    server.Service.from_servicer(jobs_servicer, servicer.CALLERS, servicer.SCOPES),
                    server.Service.from_servicer(admin, admin_servicer.CALLERS, authorize=access.require_operator),
                ],
                verifier=identity.Verifier(config.trusted_identity_keys),
                certificate=certificate,
                translate=postgres.translate_call,
            )
        )
        # Last, so that the server does not wait for open ClaimJobs calls.
        stack.callback(jobs.waiters.stop)
        await job_worker.run(stop)


def _own_target(listen: str) -> str:
    """Return the address at which this process calls itself: its worker uses the same rpcs as all others."""
    host, _, port = listen.rpartition(":")
    return f"127.0.0.1:{port}" if host in {"", "0.0.0.0", "[::]"} else listen  # noqa: S104 - nothing is bound here


def main() -> None:
    """Run the command of the command line."""
    if sys.argv[1:2] == ["admin"]:
        # The tool is a client: it needs no settings of the service.
        from services.jobs.admin import tool

        sys.exit(tool.main(sys.argv[2:], os.environ))
    process.main(
        "services.jobs",
        os.environ,
        {
            "serve": process.Command("jobs", Settings, process.run_until_stopped(serve)),
            "migrate": process.Command("jobs", Settings, process.migration("jobs", MIGRATIONS)),
        },
        others="admin …",
    )


if __name__ == "__main__":
    main()
