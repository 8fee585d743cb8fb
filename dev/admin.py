"""`make admin`: the admin tool of the jobs service, connected to the local stack."""

from __future__ import annotations

import sys
from pathlib import Path

from dev.launcher import certificates, secrets, targets
from services.jobs.admin import tool


def main(arguments: list[str], data_dir: Path) -> int:
    """Run a command of the tool. Return its exit code."""
    try:
        return tool.main(arguments, environment(data_dir))
    except targets.NoRunningStack as error:
        print(f"jobs admin: {error}", file=sys.stderr)
        return 1


def environment(data_dir: Path) -> dict[str, str]:
    """Return the environment of an operator of the local stack. Raises `NoRunningStack`."""
    target, local_secrets = targets.read(data_dir)["jobs"], secrets.load(data_dir)
    certificate = certificates.load_certificate(data_dir.absolute(), "jobs")
    return {
        "JOBS_TARGET": target,
        "IDENTITY_KEY": local_secrets["JOBS_IDENTITY_KEY"],
        "TRUSTED_IDENTITY_KEYS": local_secrets["TRUSTED_IDENTITY_KEYS"],
        "TLS_CERTIFICATE": certificate.certificate,
        "TLS_KEY": certificate.key,
        "TLS_CA": certificate.authority,
    }
