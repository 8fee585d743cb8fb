"""The table that a run prints."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bench.samples import Row, Section, percentile

_MEDIAN, _TAIL, _WORST = 50, 99, 100
_WIDTH = 150
"""Line width without a terminal."""
_RANKS = {_MEDIAN: "p50", _TAIL: "p99", _WORST: "max"}


def show(sections: Sequence[Section], conditions: str) -> None:
    table = Table(
        title=f"Repruv on {os.cpu_count()} processors, Python {platform.python_version()}", caption=conditions
    )
    table.add_column("", no_wrap=True)
    for name in ("n", *_RANKS.values()):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("target")
    for section in sections:
        table.add_section()
        table.add_row(f"[bold]{section.title}")
        for row in section.rows:
            figures = [_duration(percentile(row.durations, rank)) for rank in _RANKS]
            number = f"{len(row.durations)}" + (f" +{row.failed} failed" if row.failed else "")
            table.add_row(row.name, number, *figures, _verdict(row))
    output = console()
    output.print(table)
    for section in sections:
        if section.notes:
            output.print(f"[bold]{section.title}")
        for note in section.notes:
            output.print(f"  - {note}", markup=False)


def console() -> Console:
    return Console(width=None if os.isatty(1) else _WIDTH, highlight=False)


def _verdict(row: Row) -> str:
    targets = ", ".join(f"{_RANKS[int(rank)]} <= {_duration(limit)}" for rank, limit in row.limits)
    return {None: "", True: f"[green]met[/]: {targets}", False: f"[red]MISSED[/]: {targets}"}[row.is_met]


def _duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "-"
    if seconds < 0.0005:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
