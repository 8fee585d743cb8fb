"""`make psql`: PostgreSQL's client, connected to the local stack as the superuser."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dev.embedded.postgres import DATABASE, SUPERUSER, installation
from dev.launcher import secrets, targets


def main(arguments: Sequence[str], data_dir: Path) -> int:
    """Run psql with these arguments. Return its exit code."""
    try:
        addresses = targets.read(data_dir)
    except targets.NoRunningStack as error:
        print(f"psql: {error}", file=sys.stderr)
        return 1
    servers = [address.rpartition(":") for name, address in addresses.items() if name.startswith("postgres")]
    variables = {
        "PGHOST": ",".join(host for host, _, _ in servers),
        "PGPORT": ",".join(port for _, _, port in servers),
        # Of a pair, the primary.
        "PGTARGETSESSIONATTRS": "read-write",
        "PGUSER": SUPERUSER,
        "PGPASSWORD": secrets.load(data_dir)["POSTGRES_PASSWORD"],
        "PGDATABASE": DATABASE,
    }
    return subprocess.call([installation() / "bin" / "psql", *arguments], env={**os.environ, **variables})
