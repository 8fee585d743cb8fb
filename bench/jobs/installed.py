"""The virtual environments of the peers: below .bench, with locked packages, created on first use."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
CACHE = Path(__file__).parent.parent.parent / ".bench"
INSTALL_SECONDS = 600.0


class Missing(Exception):
    """A peer or its packages are not available on this machine. The message has the reason."""


def environment(name: str, peers: Path = PEERS) -> Path:
    """Return the directory of the environment with exactly `<peers>/<name>.txt`. Raises `Missing`."""
    lock = peers / f"{name}.txt"
    home = CACHE / f"venv-{name}"
    stamp = home / "installed"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return home
    # Without pip, which Debian's Python cannot install there. Our pip installs into any environment.
    venv.create(home, clear=True, symlinks=True)
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        home / "bin" / "python",
        "install",
        "--require-hashes",
    ]
    quiet: list[str | Path] = ["--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--requirement", lock]
    try:
        subprocess.run([*pip, *quiet], check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.CalledProcessError as error:
        raise Missing(f"cannot be installed: {error.stderr.strip()[-300:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"cannot be installed: {error}") from error
    stamp.write_text(digest)
    return home


def versions(name: str, *packages: str, peers: Path = PEERS) -> str:
    """Return the locked versions of packages, like `celery 5.7.0`."""
    pins = dict(
        line.split()[0].split("==") for line in (peers / f"{name}.txt").read_text().splitlines() if "==" in line
    )
    return ", ".join(f"{package} {pins[package]}" for package in packages)
