"""Command line: compares our job engine with its peers. Each has the settings that its documentation recommends."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import psycopg
from rich.console import Console
from rich.status import Status

from bench.jobs import comparison, history, installed, measure, repruv_engine, table
from bench.jobs.measured_engine import Failed
from dev.embedded import ServerFailed

CONDITIONS = (
    "jobs/s: 20 clients in one process submit n no-op jobs one by one, while one worker process runs them.",
    "The time begins with the first submit and ends when the engine has recorded the end of the last job.",
    "drain/s: the same n jobs are in the queue when the worker starts. The time begins with its first handler.",
    "CPU ms: processor time per job in all processes, client included, while jobs/s is measured.",
    "pickup: the time from a submit to its handler, with one job every 20 ms and no other load. submit: the call alone.",
    "Slow engines get fewer jobs, so that a measurement takes half a minute at most.",
)


def main(arguments: Sequence[str]) -> int:
    """Run the selected measurements. Return the exit code."""
    args = _parse(arguments)
    plan = measure.Plan(count=args.count, pickup_seconds=args.pickup_seconds)
    report = table.Report()
    with Console(stderr=True).status("starting") as status:
        try:
            if "repruv" in args.only:
                _repruv(report, plan, args, partial(_show, status, repruv_engine.NAME))
            for peer in comparison.PEERS:
                if peer.key in args.only:
                    _peer(report, plan, peer, partial(_show, status, peer.key))
        finally:
            status.stop()
            for condition in CONDITIONS:
                report.note(condition)
            report.show()
    return 0


def _repruv(report: table.Report, plan: measure.Plan, args: argparse.Namespace, status: Callable[[str], None]) -> None:
    with _directory() as directory, repruv_engine.ready(directory) as (stack, target):
        status("idle")
        rest = repruv_engine.idle(stack, target, args.idle_seconds)
        repruv_engine.rest(stack)
        figures = measure.measure(target, plan, status)
        report.add(f"[bold]{repruv_engine.NAME}[/]\n{repruv_engine.SETTINGS}\n{comparison.POSTGRES}", figures)
        report.note(table.costs(repruv_engine.NAME, figures.throughput))
        if args.sustain:
            status(f"{args.sustain:.0f} s without a pause")
            target.checkpoint()
            done = repruv_engine.sustained(target, args.sustain)
            report.add_throughput(f"  the same for {args.sustain:.0f} s without a pause", done)
            report.note(table.costs(f"{args.sustain:.0f} s without a pause", done))
        status("killed workers")
        taken_over = repruv_engine.kills(target, args.kills)
        if args.history:
            history.prefill(stack.database_url(), args.history, status)
            size = history.size(stack.database_url())
            figures = measure.measure(target, plan, status)
            report.add(f"  with {args.history:,} finished jobs in the table ({size})", figures)
            report.note(table.costs(f"With {args.history:,} finished jobs", figures.throughput))
    report.note(
        f"{repruv_engine.NAME}, worker killed (SIGKILL) -> its job runs elsewhere: at most {max(taken_over):.1f} s "
        f"of {', '.join(f'{seconds:.1f}' for seconds in taken_over)}."
    )
    report.note(table.idle(rest))
    report.note(table.memory(rest))
    report.note(f"While {repruv_engine.NAME} is compared, {', '.join(repruv_engine.BYSTANDERS)} are stopped.")


def _peer(report: table.Report, plan: measure.Plan, peer: comparison.Peer, status: Callable[[str], None]) -> None:
    report.section()
    try:
        with _directory() as directory, comparison.ready(peer, directory) as target:
            figures = measure.measure(target, plan, status)
    except (installed.Missing, ServerFailed, Failed, OSError, subprocess.SubprocessError, psycopg.Error) as error:
        report.add_missing(f"[bold]{peer.name}[/]\n{peer.settings}", str(error))
        return
    report.add(f"[bold]{peer.name}[/]\n{peer.settings}\n{peer.store}", figures)
    report.note(table.costs(f"{peer.name}, {peer.settings}", figures.throughput))


def _show(status: Status, name: str, text: str) -> None:
    status.update(f"{name}: {text}")


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="repruv-bench-") as directory:
        yield Path(directory)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    names = ["repruv", *dict.fromkeys(peer.key for peer in comparison.PEERS)]
    parser = argparse.ArgumentParser(prog="python -m bench.jobs", description=__doc__)
    parser.add_argument("--only", nargs="+", default=names, choices=names, help="default: all")
    parser.add_argument("--count", type=int, default=5_000, help="jobs of a measurement (default: 5000)")
    parser.add_argument("--pickup-seconds", type=float, default=10.0, help="how long pickup is measured (default: 10)")
    parser.add_argument("--idle-seconds", type=float, default=repruv_engine.IDLE_SECONDS, help="default: 20")
    parser.add_argument(
        "--kills", type=int, default=repruv_engine.KILLS, help="how many workers are killed (default: 5)"
    )
    parser.add_argument(
        "--sustain", type=float, default=0.0, metavar="SECONDS", help="Repruv only: also submit for this long"
    )
    parser.add_argument(
        "--history", type=int, default=0, metavar="JOBS", help="Repruv only: measure again with this many finished jobs"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
