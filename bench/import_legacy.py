"""Time and memory of `python -m provision import-legacy` for a generated old database: `make bench-import`."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from dev.embedded import EmbeddedServers, Nats, Postgres
from provision import __main__ as provisioning
from provision import services, settings
from tests.integration.provision import legacy_database

PASSWORD = "bench"  # noqa: S105 - of engines that this run creates


def main() -> None:
    """Import the old database twice, after a dry run."""
    users = int(os.environ.get("LEGACY_USERS", "100000"))
    with tempfile.TemporaryDirectory() as directory:
        servers = EmbeddedServers(
            postgres=Postgres(Path(directory), password=PASSWORD), nats=Nats(Path(directory), password=PASSWORD)
        )
        servers.start()
        try:
            passwords = dict.fromkeys(services.SERVICES, PASSWORD)
            provisioning.provision(
                settings.Settings(
                    admin_database_url=servers.postgres.url, passwords=passwords, nats_url=servers.nats.url
                )
            )
            with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
                connection.execute("CREATE DATABASE legacy")
            url = servers.postgres.url.rpartition("/")[0] + "/legacy"
            legacy_database.generate(url, users=users, domain="legacy.example.org")
            for name, options in (("dry run", ["--dry-run"]), ("first run", []), ("second run", [])):
                run(name, ["--from", url, *options], servers.postgres.url, users)
        finally:
            servers.erase()


def run(name: str, options: list[str], admin_url: str, users: int) -> None:
    """Run the command in a process of its own, and print its time and the peak of all so far."""
    started_at = time.perf_counter()
    environ = {**os.environ, "ADMIN_DATABASE_URL": admin_url, "LOG_LEVEL": "warning"}
    command = [sys.executable, "-m", "provision", "import-legacy", *options]
    output = subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - started_at
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    sys.stdout.write(f"{name}: {users:,} users in {seconds:.1f} s, at most {peak} MiB\n{output}\n")


if __name__ == "__main__":
    main()
