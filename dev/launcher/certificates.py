"""The certificates of a local installation, created by the launcher at the place of the containers' volumes."""

from __future__ import annotations

from pathlib import Path

from chassis import tls
from provision import certificates

IN_CONTAINERS = "/certificates"
"""Below it each container mounts a volume `<name>`. The one-shot that creates them mounts all."""


def make(data_dir: Path) -> None:
    """Create missing certificates and renew those that expire soon."""
    certificates.make(data_dir / "certificates")


def load_certificate(data_dir: Path, name: str) -> tls.Certificate:
    """Return the certificate of an identity."""
    folder = data_dir / "certificates" / name
    return tls.Certificate(
        *(str(folder / file) for file in (certificates.CERTIFICATE, certificates.KEY, certificates.AUTHORITY))
    )


def localized(value: str, data_dir: Path) -> str:
    """Translate a container path to this machine. Any other value is returned unchanged."""
    if value == IN_CONTAINERS or value.startswith(f"{IN_CONTAINERS}/"):
        return str(data_dir / "certificates") + value.removeprefix(IN_CONTAINERS)
    return value
