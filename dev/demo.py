"""`make demo`: enables demo mode from a terminal against the local stack, with a live progress bar."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import secrets
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dev.launcher import targets
from dev.launcher.up import DEFAULT_PORT

FINISHED = {"completed", "failed", "cancelled"}
READ_SECONDS = 40.0
"""The stream sends `ping` every 15 s: a longer silence means a dead connection."""
NOT_YET_SECONDS = 0.5
TEMPORARY = (429, 502, 503, 504)
BUSY_SECONDS = 60.0
RETRY_SECONDS = 1.0

console = Console()

T = TypeVar("T")


class DemoFailed(Exception):
    """The stack answered with a problem or not at all."""

    def __init__(self, text: str, *, status: int = 0) -> None:
        super().__init__(text)
        self.status = status
        """The status of the answer; 0 without one."""


def main(arguments: list[str], data_dir: Path) -> int:
    """Register a user, enable demo mode, show its content and disable it. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dev demo", description=__doc__)
    parser.add_argument("--url", help="default: the system of `make up`, or GATEWAY_PORT on this machine")
    parser.add_argument("--niche", default="auto")
    parser.add_argument("--profile-type", default="auto")
    parser.add_argument("--interactions", type=int, default=20_000)
    parser.add_argument(
        "--survive", action="store_true", help="start a system of its own, and kill its parts while a job runs"
    )
    parser.add_argument("--keep", action="store_true", help="leave demo mode enabled")
    args = parser.parse_args(arguments)
    try:
        if args.survive:
            return int(importlib.import_module("dev.survive").run())
        args.url = args.url or local_url(data_dir)
        with httpx.Client(base_url=f"{args.url}/api/v1", timeout=10.0) as client:
            return run(client, args)
    except httpx.HTTPError as error:
        console.print(f"[red]{args.url} does not answer ({type(error).__name__}). Is `make up` running?")
    except DemoFailed as error:
        console.print(f"[red]{error}")
    return 1


def local_url(data_dir: Path) -> str:
    """Return the URL of GATEWAY_PORT if it is set, else of the system that runs on `data_dir`, else of the default port."""
    if port := os.environ.get("GATEWAY_PORT"):
        return f"http://127.0.0.1:{port}"
    try:
        return f"http://{targets.read(data_dir)['gateway']}"
    except targets.NoRunningStack:  # containers have the default port
        return f"http://127.0.0.1:{DEFAULT_PORT}"


def run(client: httpx.Client, args: argparse.Namespace) -> int:
    email, password = sign_in(client)
    console.print(f"Signed in as [bold]{email}")

    options = {"profile_type": args.profile_type, "niche": args.niche, "interaction_count": args.interactions}
    accepted = call(client, "POST", "/demo/enable", options)
    console.print(f"{accepted['message']} Job: {args.url}/jobs/{accepted['job_id']}", soft_wrap=True)
    console.print(
        f"Sign in at {args.url}/login with [bold]{email}[/] and [bold]{password}[/] to watch it", soft_wrap=True
    )
    if not follow(client, accepted["job_id"]):
        return 1
    show(client)
    if args.keep:
        console.print(f"Demo mode stays enabled: {args.url}/dashboard")
        return 0

    accepted = call(client, "POST", "/demo/disable")
    console.print(f"{accepted['message']} Job: {args.url}/jobs/{accepted['job_id']}", soft_wrap=True)
    if not follow(client, accepted["job_id"]):
        return 1
    stats = call(client, "GET", "/demo/status")["stats"]
    console.print(
        f"{stats['removed_interactions']:,} interactions, {stats['removed_content']:,} content items removed."
    )
    return 0


def sign_in(client: httpx.Client) -> tuple[str, str]:
    """Register a new user whose token `client` sends from now on. Return the email address and the password."""
    email, password = register(client)
    token = when_free(lambda: call(client, "POST", "/auth/token", {"email": email, "password": password}))["token"]
    client.cookies.clear()
    client.headers["Authorization"] = f"Bearer {token}"
    return email, password


def register(client: httpx.Client) -> tuple[str, str]:
    """Register a new user; return the email address and the password. Raises `DemoFailed`."""

    def try_an_address() -> tuple[str, str]:
        # A new one each time: an attempt that got no answer may have registered its address.
        email, password = f"demo-{secrets.token_hex(4)}@example.com", secrets.token_urlsafe(16)
        call(client, "POST", "/auth/register", {"email": email, "password": password, "name": "Demo"})
        return email, password

    return when_free(try_an_address)


def when_free(attempt: Callable[[], T]) -> T:
    """Return the result of an attempt that needs a password hashed, for which a busy machine may lack the time for a minute."""
    give_up_at = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return attempt()
        except DemoFailed as error:
            if error.status not in TEMPORARY or time.monotonic() > give_up_at:
                raise
            time.sleep(RETRY_SECONDS)


def call(client: httpx.Client, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Call the API. Raises `DemoFailed` with the text of the problem."""
    response = client.request(method, path, json=body)
    if response.is_error:
        problem = response.json() if "json" in response.headers.get("content-type", "") else {}
        text = f"{method} {path}: {response.status_code} {problem.get('detail', response.text[:200])}"
        raise DemoFailed(text, status=response.status_code)
    answer: dict[str, Any] = response.json()
    return answer


def follow(client: httpx.Client, job_id: str) -> bool:
    """Show the progress of a job until it ends. Return whether it completed. Reconnects when the stream breaks."""
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    job: dict[str, Any] = {"status": "unknown"}
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("waiting", total=None)
        cursor = ""
        for _ in range(60):
            for event_id, job in job_events(client, job_id, cursor):
                cursor = event_id
                progress = job["progress"]
                label = progress["message"] or job["status"]
                bar.update(task, description=label, completed=progress["done"], total=progress["total"] or None)
            if job["status"] in FINISHED:
                break
    error = f" - {job['error']['message']}" if job.get("error") else ""
    console.print(f"{job['status']} in {job.get('duration_seconds') or 0:.2f} s{error}")
    return bool(job["status"] == "completed")


def job_events(client: httpx.Client, job_id: str, cursor: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield pairs of cursor and job from the event stream after `cursor`, until the stream ends."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": cursor} if cursor else {})}
    timeout = httpx.Timeout(10.0, read=READ_SECONDS)
    name = ""
    try:
        with client.stream("GET", f"/jobs/{job_id}/events", headers=headers, timeout=timeout) as response:
            if response.status_code in (404, 503):  # accepted, but not submitted to the jobs service yet
                time.sleep(NOT_YET_SECONDS)
                return
            if response.is_error:
                response.read()
                raise DemoFailed(f"the stream answered {response.status_code}")
            for line in response.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "id":
                    cursor = value
                elif field == "data" and name == "job":
                    yield cursor, json.loads(value)
    except httpx.TransportError:
        return


def show(client: httpx.Client) -> None:
    """Print the dashboard's numbers and the newest interactions."""
    numbers = call(client, "GET", "/metrics/dashboard")
    rating = f"{numbers['average_rating']:.1f}" if numbers["average_rating"] is not None else "-"
    console.print(
        f"[bold]{numbers['content_count']:,}[/] items, [bold]{numbers['interaction_count']:,}[/] interactions, "
        f"rating [bold]{rating}[/], [bold]{numbers['needs_reply']:,}[/] need a reply"
    )
    table = Table("kind", "author", "text", "sentiment", title="Newest interactions")
    for interaction in call(client, "GET", "/interactions?page_size=8")["interactions"]:
        author = interaction["author"]["name"]
        text = textwrap.shorten(interaction["text"], 80, placeholder="…")
        table.add_row(interaction["kind"], author, text, interaction["sentiment"])
    console.print(table)
