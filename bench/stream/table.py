"""The table that a run prints, with each target and whether it was met."""

from __future__ import annotations

import os
import platform

from rich import markup
from rich.table import Table

from bench import report
from bench.samples import percentile
from bench.stream.measure import Drain, Flow, OpenStreams, Storm
from gateway import server

KIB = 1024
MAX_KIB = 20.0
# By events per second: percentile and seconds.
LATENCY = {1_000: {50: 0.001, 99: 0.010}, 5_000: {99: 0.025}}
STORM_SECONDS = 10.0
EXIT_SECONDS = server.DRAIN_SECONDS + 1.0
NOTES = """\
One server process each, uvicorn with uvloop and httptools. NATS, the readers, and what answers our gateway's calls from memory
  (bench/stream/backend.py) are processes of their own on the same machine: sign-in, PostgreSQL and the job engine are not in
  these figures. Every stream has a user of its own.
Ours is the delivered gateway: it checks sessions, resumes streams and limits them. The peers do none of this.
Memory: the growth of the server's resident memory for each stream. Connecting: 200 at a time. Processor: of the server,
  100 % is one. Latency: from before an event is published to NATS until it is in its reader's socket. Ours is published as
  protobuf, the peers' as JSON.
"""


class Report:
    """Rows in the order in which they were measured; shown at the end, also after an error."""

    def __init__(self) -> None:
        self._table = Table(title=f"Event streams on {os.cpu_count()} processors, Python {platform.python_version()}")
        self._table.add_column("", overflow="fold")
        self._table.add_column("figures", overflow="fold")
        self._table.add_column("target", overflow="fold")

    def opened(self, name: str, opened: OpenStreams, *, is_ours: bool) -> None:
        """Add a measurement of open streams."""
        each, base, cost = opened.each / KIB, opened.base / KIB / KIB, opened.cpu / opened.count * 1000
        connects = f"connected {opened.count / opened.seconds:,.0f}/s, {cost:.2f} ms of processor each"
        figures = f"{each:.1f} KiB a stream on {base:.0f} MiB; {connects}"
        target = _verdict(opened.each / KIB <= MAX_KIB, f"{MAX_KIB:.0f} KiB a stream") if is_ours else ""
        self._table.add_section()
        self._table.add_row(f"[bold]{name}[/]: {opened.count:,} streams", figures, target)

    def flow(self, name: str, count: int, flow: Flow, *, is_ours: bool) -> None:
        """Add a measurement of sent events."""
        p50, p99 = (percentile(flow.latencies, rank) for rank in (50, 99))
        lost = flow.sent - len(flow.latencies)
        figures = f"p50 {p50 * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms; processor {flow.cpu:.0%}"
        figures += f"; {lost} not read" if lost else ""
        limit = LATENCY[int(flow.rate)]
        targets = [f"p{rank} < {most * 1000:.0f} ms" for rank, most in limit.items()]
        is_met = all(percentile(flow.latencies, rank) < most for rank, most in limit.items()) and not lost
        target = _verdict(is_met, ", ".join(targets)) if is_ours else ""
        self._table.add_row(f"{name}: {flow.rate:,.0f} events/s to {count:,} streams", figures, target)

    def storm(self, where: str, storm: Storm) -> None:
        """Add a measurement of reconnecting readers."""
        called = ", ".join(f"{name} {count:,}" for name, count in sorted(storm.called.items())) or "nothing"
        figures = f"{storm.seconds:.1f} s until each had what it missed ({storm.missed:,} events), {storm.wrong} wrong; {called}"
        target = _verdict(storm.seconds < STORM_SECONDS and not storm.wrong, f"< {STORM_SECONDS:.0f} s, 0 wrong")
        self._table.add_row(f"repruv: {storm.count:,} cut, all back at once at {where}", figures, target)

    def drain(self, drain: Drain) -> None:
        """Add a measurement of a stopping process."""
        answered = "answered" if drain.answered else "NOT ANSWERED"
        ends = f"{drain.clean:,} with a `bye` and a clean end, over {drain.spread:.2f} s"
        figures = f"gone after {drain.exit:.2f} s; {ends}; a request under way was {answered}"
        is_met = drain.exit <= EXIT_SECONDS and drain.clean == drain.count and drain.answered
        target = _verdict(is_met, f"gone within {EXIT_SECONDS:.0f} s, all clean")
        self._table.add_row(f"repruv: SIGTERM with {drain.count:,} streams", figures, target)

    def missing(self, name: str, error: Exception) -> None:
        """Add a server that was not measured, with the reason."""
        self._table.add_row(name, f"NOT MEASURED: {markup.escape(str(error) or repr(error))}", "")

    def show(self) -> None:
        console = report.console()
        console.print(self._table)
        console.print(NOTES, markup=False)


def _verdict(is_met: bool, target: str) -> str:
    return f"[green]met[/]: {target}" if is_met else f"[red]MISSED[/]: {target}"
