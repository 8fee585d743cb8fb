"""The steps of an upgrade: every replica of the previous release is replaced by this one, and back, while the load goes on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.scaling.steps import SERVICES, WORKER, Replicas, Step
from tests.previous import release

PROCESSES = ("auth-worker", WORKER, *SERVICES)
"""In the order in which they are upgraded; back in the opposite order."""
SCALE = dict.fromkeys(PROCESSES, 2)


@contextmanager
def previous_release() -> Iterator[Mapping[str, str]]:
    """Yield the variables of a process that runs the code of the previous release."""
    with tempfile.TemporaryDirectory(prefix="previous-") as directory:
        release.export(Path(directory))
        yield release.variables(Path(directory))


def steps(replicas: Replicas, previous: Mapping[str, str]) -> Iterator[Step]:
    """Return all steps; before the first, every process runs the previous release on the schema of this one."""
    this_release = release.variables(release.ROOT)
    yield Step(name="previous release")
    for name in PROCESSES:
        yield Step(name=f"{name}: this release", act=partial(replicas.restart, name, range(SCALE[name]), this_release))
    yield Step(name="this release")
    for name in reversed(PROCESSES):
        yield Step(name=f"{name}: previous release", act=partial(replicas.restart, name, range(SCALE[name]), previous))
    yield Step(name="previous release again")
