"""Files of lines NAME=value, as `docker compose --env-file` reads them."""

from __future__ import annotations

from pathlib import Path


def read(path: Path) -> dict[str, str]:
    """Return the variables of a file; lines that begin with # are comments."""
    lines = (line for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in (line.partition("=") for line in lines)}
