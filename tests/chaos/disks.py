"""Small file systems for the data of PostgreSQL and NATS, which become full and have room again."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.embedded import postgres

SIZE_BYTES = 2_000_000_000
SPARE_BYTES = (4_096, 16_384, 65_536, 262_144, 1_048_576)


class Disk:
    """A tmpfs: it takes only the memory of its files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Fill the disk."""
        for spare in SPARE_BYTES:  # it may grow between the two calls
            usage = os.statvfs(self.path)
            try:
                return self._resize((usage.f_blocks - usage.f_bfree) * usage.f_frsize + spare)
            except subprocess.CalledProcessError:
                continue
        raise OSError(f"{self.path} grows too quickly to be filled")

    def empty(self) -> None:
        """Free the disk."""
        self._resize(SIZE_BYTES)

    def _resize(self, size: int) -> None:
        _run("mount", "-o", f"remount,size={size}", str(self.path))


@contextmanager
def disk(path: Path) -> Iterator[Disk]:
    """Mount a disk at a new directory while the context lasts."""
    path.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES},mode=755", "repruv-chaos", str(path))
    try:
        yield Disk(path)
    finally:
        _run("umount", "--lazy", str(path))
        path.rmdir()


@contextmanager
def disks(data_dir: Path) -> Iterator[dict[str, Disk]]:
    """Put `data_dir`, and with it NATS, on one disk and PostgreSQL on another. Without the right to mount: on none."""
    if os.geteuid():
        print("no disk becomes full: only root mounts file systems")
        yield {}
        return
    postgres.SYSTEM_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="chaos-", dir=postgres.SYSTEM_HOME))
    with disk(data_dir.parent) as of_nats, disk(home) as of_postgres:
        cluster = home / "postgres"
        cluster.mkdir()
        user = postgres.unprivileged()
        os.chown(cluster, user.uid, user.gid)
        home.chmod(0o755)
        data_dir.mkdir()
        (data_dir / "postgres").symlink_to(cluster)
        yield {"nats": of_nats, "postgres": of_postgres}


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=30.0)
