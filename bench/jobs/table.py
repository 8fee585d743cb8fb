"""The table that a run prints, and the notes below it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence

from rich import markup
from rich.table import Table

from bench import report
from bench.jobs.measure import Figures, Throughput
from bench.jobs.repruv_engine import Idle
from bench.samples import percentile


class Report:
    """Rows and notes in the order of measurement. Shown at the end, also after an error."""

    def __init__(self) -> None:
        self._table = Table(title=f"Job engines on {os.cpu_count()} processors, Python {platform.python_version()}")
        self._table.add_column("", overflow="fold")
        for name in ("n", "jobs/s", "drain/s", "CPU ms", "pickup p50", "p99", "submit p50", "p99"):
            self._table.add_column(name, justify="right", no_wrap=True)
        self._notes: list[str] = []

    def add(self, name: str, figures: Figures) -> None:
        done = figures.throughput
        self._table.add_row(
            name,
            f"{done.count:,}",
            f"{done.rate:,.0f}",
            f"{figures.drain:,.0f}",
            f"{_per_job(done):.2f}",
            *(_milliseconds(figures.pickups, rank) for rank in (50, 99)),
            *(_milliseconds(figures.submits, rank) for rank in (50, 99)),
        )

    def add_throughput(self, name: str, done: Throughput) -> None:
        """Add a measurement of throughput alone. Its pickup includes waiting for other jobs."""
        waits = [_milliseconds(done.pickups, rank) for rank in (50, 99)]
        self._table.add_row(name, f"{done.count:,}", f"{done.rate:,.0f}", "", f"{_per_job(done):.2f}", *waits, "", "")

    def add_missing(self, name: str, reason: str) -> None:
        """Add an engine that was not measured, with the reason."""
        self._table.add_row(f"{name}\nNOT MEASURED: {markup.escape(reason)}")

    def section(self) -> None:
        self._table.add_section()

    def note(self, text: str) -> None:
        self._notes.append(text)

    def show(self) -> None:
        console = report.console()
        console.print(self._table)
        for note in self._notes:
            console.print(f"- {note}", markup=False)


def costs(name: str, done: Throughput) -> str:
    """Return the note on the processor time of a job by process."""
    parts = {process: cost * 1000 / done.count for process, cost in done.costs.items()}
    listing = ", ".join(f"{process} {cost:.2f}" for process, cost in sorted(parts.items(), key=lambda part: -part[1]))
    return (
        f"{name}: processor ms a job: {listing}; {done.behind:.1f} of {done.seconds:.1f} s came after the last submit."
    )


def idle(measured: Idle) -> str:
    """Return the note on the processor time of the idle system."""
    total = sum(measured.cpu.values())
    return f"Idle, all processes: {total:.1%} of a processor ({_listed(measured.cpu, '{:.1%}')})."


def memory(measured: Idle) -> str:
    """Return the note on the memory of the idle system."""
    return (
        f"Memory at rest, proportional MiB: {sum(measured.memory.values()):.0f} ({_listed(measured.memory, '{:.0f}')})."
    )


def _listed(figures: Mapping[str, float], form: str) -> str:
    ordered = sorted(figures.items(), key=lambda figure: -figure[1])
    return ", ".join(f"{name} {form.format(figure)}" for name, figure in ordered)


def _per_job(done: Throughput) -> float:
    return sum(done.costs.values()) * 1000 / done.count


def _milliseconds(durations: Sequence[float], rank: float) -> str:
    return f"{percentile(durations, rank) * 1000:.1f} ms"
