"""The certificates of a local installation, created by the launcher at the place of the containers' volumes."""

from __future__ import annotations

from pathlib import Path

from chassis import tls
from provision import certificates

IN_CONTAINERS = "/certificates"
"""Below it each container has a volume `<name>`; the one-shot that makes them has all."""


def make(data_dir: Path) -> None:
    """Make what is missing, and what ends soon anew."""
    certificates.make(data_dir / "certificates")


def of(data_dir: Path, name: str) -> tls.Certificate:
    """Give the certificate of an identity."""
    folder = data_dir / "certificates" / name
    return tls.Certificate(
        *(str(folder / file) for file in (certificates.CERTIFICATE, certificates.KEY, certificates.AUTHORITY))
    )


def localized(value: str, data_dir: Path) -> str:
    """Give a path of a container as it is on this machine; every other value as it is."""
    if value == IN_CONTAINERS or value.startswith(f"{IN_CONTAINERS}/"):
        return str(data_dir / "certificates") + value.removeprefix(IN_CONTAINERS)
    return value
