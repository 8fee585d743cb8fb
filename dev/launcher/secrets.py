"""The secrets of a local installation: created at the first start, stored in `secrets.env` for its owner only."""

from __future__ import annotations

import os
from pathlib import Path

from dev.launcher import env_files
from provision import keys


def load(data_dir: Path) -> dict[str, str]:
    """Return the secrets of `data_dir`. Creates missing ones."""
    path = data_dir / "secrets.env"
    values = env_files.read(path) if path.exists() else {}
    new = keys.fresh()
    if not values.keys() >= keys.identity_names():  # seeds and trust belong together: all or none
        values = {name: value for name, value in values.items() if name not in keys.identity_names()}
    merged = {**new, **values}
    if merged != values:
        _write(path, merged)
    return merged


def _write(path: Path, secrets: dict[str, str]) -> None:
    text = "# Secrets of this local installation only; `make reset` deletes them with the data.\n"
    text += "".join(f"{name}={value}\n" for name, value in secrets.items())
    unfinished = path.with_suffix(".new")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
