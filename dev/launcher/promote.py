"""`make promote`: makes the standby of the running stack the primary."""

from __future__ import annotations

import time
from pathlib import Path

from dev.embedded import STANDBY, Postgres, PostgresPair, ServerFailed
from dev.launcher import secrets, targets


def run(data_dir: Path) -> int:
    """Promote the standby of the stack in `data_dir`. Return the exit code."""
    try:
        addresses = targets.read(data_dir)
        if STANDBY not in addresses:
            print("the running system has no standby; start it with `make up HA=1`")
            return 1
        password = secrets.load(data_dir)["POSTGRES_PASSWORD"]
        first, second = (
            Postgres(data_dir, int(addresses[name].rpartition(":")[2]), name=name, password=password)
            for name in ("postgres", STANDBY)
        )
        began = time.monotonic()
        promoted = PostgresPair(servers=(first, second)).promote()
    except (targets.NoRunningStack, ServerFailed) as error:
        print(error)
        return 1
    print(
        f"{promoted.name} is the primary after {time.monotonic() - began:.1f} s; the other server becomes its standby"
    )
    return 0
