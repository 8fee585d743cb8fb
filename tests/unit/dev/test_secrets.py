"""Local secrets are created once, kept, and completed when one is missing."""

from __future__ import annotations

from pathlib import Path

from chassis import identity
from dev.launcher import secrets


def test_secrets_are_created_once(tmp_path: Path) -> None:
    first = secrets.load(tmp_path)
    assert secrets.load(tmp_path) == first
    assert (tmp_path / "secrets.env").stat().st_mode & 0o077 == 0
    assert not [name for name, value in first.items() if "local-only" in value]


def test_a_missing_password_is_added_and_the_others_kept(tmp_path: Path) -> None:
    first = secrets.load(tmp_path)
    file = tmp_path / "secrets.env"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if "DEMO_NATS" not in line))
    second = secrets.load(tmp_path)
    assert second.keys() == first.keys()
    assert {name for name in first if first[name] != second[name]} == {"DEMO_NATS_PASSWORD"}


def test_seeds_and_trust_are_renewed_together(tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    secrets.load(tmp_path)
    file.write_text("".join(line for line in file.read_text().splitlines(True) if "DEMO_IDENTITY" not in line))
    mended = secrets.load(tmp_path)
    public = dict(entry.split(":") for entry in mended["TRUSTED_IDENTITY_KEYS"].split(","))
    for caller, key in public.items():
        assert identity.public_key(mended[f"{caller.upper()}_IDENTITY_KEY"]) == key
