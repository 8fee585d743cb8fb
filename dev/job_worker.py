"""The worker behind `make job`: `python -m dev.job_worker FILE DATA_DIR [JOB_ID PAYLOAD]` runs the kinds of a file."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
import traceback
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import worker
from chassis import bus, errors, identity, logs, process, protobuf, run
from chassis.rpc import client
from dev import admin
from dev.launcher import certificates, secrets, targets
from provision.services import JOB_OWNERS
from repruv.jobs.v1 import admin_service_pb2 as messages
from repruv.jobs.v1 import job_pb2, jobs_service_pb2
from services.jobs.admin import connection

NAME = "make-job"
"""The names of workers of this program begin with it."""
CONCURRENCY = 10
DRAIN_SECONDS = 2.0
POLL_SECONDS = 0.5
FINISHED = (job_pb2.JOB_STATE_COMPLETED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)


class NotRunnable(Exception):
    """The file cannot be run; the message says why."""


def main(file: str, data_dir: str, job_id: str = "", payload: str = "") -> int:
    """Run the kinds of `file` until SIGTERM. Return the exit code."""
    logs.configure("job", level="info", form="text")
    try:
        kinds, schedules = load(Path(file))
        service = service_of(kinds)
        job = messages.RunJobRequest(job_id=job_id, kind=kinds[0].name) if job_id else None
        if job:
            job.payload.CopyFrom(protobuf.to_struct(json.loads(payload)))
        process.until_signal(partial(_work, kinds, schedules, service, job, Path(data_dir)))
    except (NotRunnable, targets.NoRunningStack, ValueError, errors.Error) as error:
        print(f"job: {error}", flush=True)
        return 1
    return 0


def load(path: Path) -> tuple[list[worker.Kind[Any]], list[worker.Schedule]]:
    """Return the kinds and schedules among the global names of a file. Raises `NotRunnable` with what is wrong in it."""
    name = path.stem
    if importlib.util.find_spec(name.partition(".")[0]) is not None:
        raise NotRunnable(f"{path.name} has the name of the module {name!r}; rename the file")
    # At the end: a file beside it must not replace a module of the project.
    sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise NotRunnable(f"{path.name} is not a Python file: its name must end in .py")
    # A process of a pool imports the handler by the name of its module.
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        trace = error.__traceback__
        while trace and trace.tb_frame.f_code.co_filename != str(path):
            trace = trace.tb_next
        raise NotRunnable("".join(traceback.format_exception(error.with_traceback(trace))).rstrip()) from error
    values = vars(module).values()
    kinds = list({id(value): value for value in values if isinstance(value, worker.Kind)}.values())
    if not kinds:
        raise NotRunnable(f'{path.name} defines no kind, such as GREET = worker.Kind("demo.greet", greet)')
    return kinds, list({id(value): value for value in values if isinstance(value, worker.Schedule)}.values())


def service_of(kinds: list[worker.Kind[Any]]) -> str:
    """Return the service that owns the kinds, whose keys and certificate the worker uses. Raises `NotRunnable`."""
    for kind in kinds:
        service, dot, _ = kind.name.partition(".")
        if not dot or service not in JOB_OWNERS:
            prefixes = " or ".join(f"{owner}." for owner in JOB_OWNERS)
            raise NotRunnable(f"{kind.name}: the name of a kind begins with that of its service: {prefixes}")
    if len(services := {kind.name.partition(".")[0] for kind in kinds}) > 1:
        raise NotRunnable(f"the kinds belong to {' and '.join(sorted(services))}; a file has the kinds of one service")
    return services.pop()


async def _work(
    kinds: list[worker.Kind[Any]],
    schedules: list[worker.Schedule],
    service: str,
    job: messages.RunJobRequest | None,
    data_dir: Path,
    stop: asyncio.Event,
) -> None:
    addresses, local_secrets = targets.read(data_dir), secrets.load(data_dir)
    hosts = [address for name, address in addresses.items() if name.partition("-")[0] == "nats"]
    account = f"{service}:{local_secrets[f'{service.upper()}_NATS_PASSWORD']}"
    url = os.environ.get("PUBLIC_URL") or f"http://{addresses['gateway']}"
    certificate = certificates.load_certificate(data_dir, service)
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(connection.connected(admin.environment(data_dir)))
        channel = worker.client.channel(addresses["jobs"], certificate)
        stack.push_async_callback(channel.close)
        call = client.Caller(identity.Signer(service, local_secrets[f"{service.upper()}_IDENTITY_KEY"]))
        nats = bus.Bus(",".join(f"nats://{account}@{host}" for host in hosts), name=NAME, certificate=certificate)
        job_worker = worker.Worker(
            name=NAME,
            kinds=kinds,
            schedules=schedules,
            jobs=worker.JobsClient(channel, call),
            bus=nats,
            concurrency=CONCURRENCY,
            drain_seconds=DRAIN_SECONDS,
        )
        if not await _are_names_free(operator, kinds, stop):
            return
        background = await stack.enter_async_context(run.Background())
        background.start("bus", nats.run)
        for kind in kinds:
            print(f"job: {kind.name}  {url}/admin/kinds/{kind.name}", flush=True)
        if job:
            following = asyncio.create_task(_follow(operator, job, url))
            stack.callback(following.cancel)
        await job_worker.run(stop)


async def _are_names_free(operator: connection.Connection, kinds: list[worker.Kind[Any]], stop: asyncio.Event) -> bool:
    """Wait for the jobs service; return False when `stop` is set first.

    Raises `NotRunnable` for a kind of another worker: registering it would take over the jobs of a service.
    """
    names = {registration.kind for kind in kinds for registration in kind.registrations()}
    is_reported = False
    while not stop.is_set():
        try:
            workers = (await operator.call(operator.admin.ListWorkers, messages.ListWorkersRequest())).workers
        except errors.Unavailable:
            if not is_reported:
                print("job: the jobs service does not answer; is `make up` running?", flush=True)
            is_reported = True
            await asyncio.sleep(POLL_SECONDS)
            continue
        for other in workers:
            if not other.worker.startswith(f"{NAME}-") and (shared_kinds := names.intersection(other.kinds)):
                raise NotRunnable(f"{min(shared_kinds)} is run by {other.worker}; choose another name")
        return True
    return False


async def _follow(operator: connection.Connection, request: messages.RunJobRequest, url: str) -> None:
    """Submit the job, print the link to its page, and how it ends."""
    is_submitted = False
    while True:
        try:
            if not is_submitted:
                await operator.call(operator.admin.RunJob, request)
                is_submitted = True
                print(f"job: {request.job_id} is submitted  {url}/admin/jobs/{request.job_id}", flush=True)
            answer = await operator.call(operator.jobs.GetJob, jobs_service_pb2.GetJobRequest(job_id=request.job_id))
            if (state := answer.job.state) in FINISHED:
                text = answer.job.error.message or json.dumps(protobuf.from_struct(answer.job.result))
                name = job_pb2.JobState.Name(state).removeprefix("JOB_STATE_").lower()
                print(f"job: {request.job_id} is {name}: {text}", flush=True)
                return
        except (errors.Unavailable, errors.NotFound):
            pass  # an outage, or the worker has not registered the kind yet
        except errors.Error as error:
            print(f"job: not submitted: {error.message}", flush=True)
            return
        await asyncio.sleep(POLL_SECONDS)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
