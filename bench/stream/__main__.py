"""Command line: event streams of the gateway, sse-starlette and FastAPI in one table. `python -m bench.stream`."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Sequence

import uvloop
from rich.console import Console
from rich.status import Status

from bench.jobs import installed
from bench.stream import measure, process, table

PEERS = {"sse_starlette": ("sse-starlette", "starlette", "uvicorn"), "fastapi": ("fastapi", "starlette", "uvicorn")}
RATES = (1_000, 5_000)
FLOW_SECONDS = 5.0


def main(arguments: Sequence[str]) -> int:
    """Run the selected measurements. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.stream", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", default=["repruv", *PEERS], choices=["repruv", *PEERS], help="default: all"
    )
    parser.add_argument("--streams", type=int, default=3_000, help="that events go to (default: 3000)")
    parser.add_argument("--most", type=int, default=10_000, help="held by one process of ours (default: 10000)")
    parser.add_argument("--storm", type=int, default=5_000, help="readers who come back at once (default: 5000)")
    parser.add_argument("--drain", type=int, default=2_000, help="streams when the process stops (default: 2000)")
    args = parser.parse_args(arguments)
    report = table.Report()
    with Console(stderr=True).status("starting") as status:
        try:
            uvloop.run(_measure(args, report, status))
        finally:
            status.stop()
            report.show()
    return 0


async def _measure(args: argparse.Namespace, report: table.Report, status: Status) -> None:
    with process.surroundings() as environment:
        if "repruv" in args.only:
            status.update("repruv: streams and events")
            with process.gateway(environment) as running:
                await _streams(environment, running, "repruv", args.streams, report, status)
            status.update(f"repruv: {args.most} streams")
            with process.gateway(environment) as running:
                crowd, opened = await measure.open_streams(running, measure.gateway_head, args.most)
                report.opened("repruv", opened, is_ours=True)
                await crowd.cut()
            status.update("repruv: storm")
            with process.gateway(environment) as running, process.gateway(environment) as other:
                report.storm("the same process", await measure.storm(environment, running, args.storm))
                elsewhere = await measure.storm(environment, running, args.storm, back_to=other)
                report.storm("another replica, to which they are strangers", elsewhere)
                restarted = await measure.storm(environment, running, args.storm, fresh=process.gateway(environment))
                report.storm("a replica that was started after it happened", restarted)
            status.update("repruv: drain")
            with process.gateway(environment) as running:
                report.drain(await measure.drain(running, args.drain))
        for name, packages in PEERS.items():
            if name in args.only:
                await _peer(environment, name, packages, args.streams, report, status)


async def _peer(
    environment: process.Surroundings,
    name: str,
    packages: Sequence[str],
    count: int,
    report: table.Report,
    status: Status,
) -> None:
    title = installed.versions(name, *packages, peers=process.PEERS)
    status.update(title)
    try:
        with process.peer(environment, name) as running:
            await _streams(environment, running, title, count, report, status)
    except (installed.Missing, OSError, RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
        report.missing(title, error)


async def _streams(
    environment: process.Surroundings,
    running: process.Running,
    title: str,
    count: int,
    report: table.Report,
    status: Status,
) -> None:
    is_ours = title == "repruv"
    head = measure.gateway_head if is_ours else measure.peer_head
    crowd, opened = await measure.open_streams(running, head, count)
    report.opened(title, opened, is_ours=is_ours)
    for rate in RATES:
        status.update(f"{title}: {rate} events/s")
        flow = await measure.flow(environment, running, crowd, rate=rate, seconds=FLOW_SECONDS, peers=not is_ours)
        report.flow(title, count, flow, is_ours=is_ours)
        await asyncio.sleep(1.0)
    await crowd.cut()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
