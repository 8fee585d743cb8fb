"""`make demo ARGS=--survive`: a job outlives its worker, the jobs service, NATS and PostgreSQL, all killed while it runs.

Runs a system of its own in a temporary directory, so a running `make up` is not disturbed.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dev import demo
from dev.launcher import breaks
from dev.launcher.stack import Stack

INTERACTIONS = 12_000
PAUSE_MS = "100"
"""Pause between two writes of 100 rows: the job lasts long enough to be disturbed."""
WAIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """Something that breaks, and comes back, at a point of the job."""

    share: float
    """The share of the rows after which it happens."""
    part: breaks.Part

    def act(self, stack: Stack) -> None:
        """Break the part, and bring it back."""
        self.part.fail(stack)
        time.sleep(self.part.away_seconds)
        self.part.recover(stack)


DISTURBANCES = tuple(
    Disturbance(share=share, part=breaks.PARTS[name])
    for share, name in ((0.2, "worker"), (0.4, "nats"), (0.6, "postgres"), (0.8, "jobs"))
)


@dataclass(slots=True)
class Watch:
    """What a client sees of a job through its event stream, which it reopens whenever it breaks."""

    client: httpx.Client
    job_id: str
    job: dict[str, Any] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def rows(self) -> int:
        """The rows written so far."""
        return int(self.job["progress"]["done"]) if self.job else 0

    @property
    def has_ended(self) -> bool:
        return bool(self.job) and self.job["status"] in demo.FINISHED

    def follow(self, show: Callable[[int], None]) -> None:
        """Read events until the job has ended, and show the rows after each."""
        cursor = ""
        while not self.has_ended:
            for event_id, job in demo.job_events(self.client, self.job_id, cursor):
                cursor = event_id
                with self._changed:
                    self.job = job
                    self._changed.notify_all()
                show(self.rows)
            time.sleep(0.1)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until an event makes the condition true. Raises `DemoFailed` after two minutes."""
        with self._changed:
            if not self._changed.wait_for(condition, WAIT_SECONDS):
                raise demo.DemoFailed(f"nothing happened for {WAIT_SECONDS:g} s")


def run() -> int:
    """Run the job, disturb it, and compare what it wrote with what was asked for. Return the exit code."""
    with tempfile.TemporaryDirectory(prefix="repruv-") as folder:
        directory = Path(folder)
        stack = Stack(directory, env={"DEMO_BATCH_PAUSE_MS": PAUSE_MS}, log=directory / "log")
        try:
            with demo.console.status("starting PostgreSQL, NATS and all services"):
                stack.start()
            return _survive(stack)
        finally:
            stack.erase()


def _survive(stack: Stack) -> int:
    with httpx.Client(base_url=f"{stack.url}/api/v1", timeout=30.0) as client:
        email, password = demo.sign_in(client)
        accepted = demo.call(client, "POST", "/demo/enable", {"interaction_count": INTERACTIONS})
        watch = Watch(client, accepted["job_id"])
        demo.console.print(f"Watch it at {stack.url}/jobs/{watch.job_id}, signed in as {email} with {password}")
        table = Table("at row", "what breaks", "next progress after", title="Disturbances")
        with _follow_in_thread(watch) as follower:
            for disturbance in DISTURBANCES:
                rows, seconds = _disturb(stack, watch, disturbance)
                table.add_row(f"{rows:,}", disturbance.part.title, f"{seconds:.1f} s")
            watch.wait(lambda: watch.has_ended)
            follower.join()
        demo.console.print(table)
        written = demo.call(client, "GET", "/metrics/dashboard")["interaction_count"]
    has_survived = watch.job["status"] == "completed" and written == INTERACTIONS
    verdict = "none lost, none twice" if has_survived else "[red]this is a bug"
    status, attempts = watch.job["status"], watch.job["attempt"]
    demo.console.print(f"{status} in attempt {attempts}; {written:,} of {INTERACTIONS:,} rows: {verdict}")
    return 0 if has_survived else 1


def _disturb(stack: Stack, watch: Watch, disturbance: Disturbance) -> tuple[int, float]:
    """Break a part at its point of the job; return the rows at that moment and the seconds until more were written."""
    watch.wait(lambda: watch.rows >= INTERACTIONS * disturbance.share)
    rows, began = watch.rows, time.monotonic()
    demo.console.print(f"row {rows:,}: {disturbance.part.title}")
    breaking = threading.Thread(target=disturbance.act, args=[stack], name="disturbance")
    breaking.start()
    watch.wait(lambda: watch.rows > rows or watch.has_ended)
    seconds = time.monotonic() - began
    breaking.join()
    return rows, seconds


@contextlib.contextmanager
def _follow_in_thread(watch: Watch) -> Iterator[threading.Thread]:
    """Follow the job in a thread, with a progress bar."""
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=demo.console) as bar:
        task = bar.add_task("waiting", total=INTERACTIONS)

        def show(rows: int) -> None:
            bar.update(task, completed=rows, description=watch.job["progress"]["message"] or watch.job["status"])

        follower = threading.Thread(target=watch.follow, args=[show], name="follow", daemon=True)
        follower.start()
        yield follower
