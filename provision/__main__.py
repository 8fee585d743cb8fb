"""`python -m provision` brings PostgreSQL and NATS to what the services need; `… keys` prints new secrets for .env;
`… certificates FOLDER` makes certificates for development, and renews those that end soon."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

from chassis import database_url, logs, migrations
from chassis import settings as chassis_settings
from provision import roles, settings, streams

logger = logging.getLogger("provision")

WAIT_SECONDS = 60.0
SERVICES_FOLDER = Path(__file__).parent.parent / "services"


def main(arguments: list[str]) -> int:
    """Run a command; gives its exit code."""
    if arguments == ["keys"]:
        return print_keys()
    if arguments[:1] == ["certificates"] and len(arguments) == 2:
        return make_certificates(Path(arguments[1]))
    if arguments:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        chosen = chassis_settings.read(settings.Settings, os.environ)
    except chassis_settings.SettingsError as error:
        sys.stderr.write(f"provision: {error}\n")
        return 1
    logs.configure("provision", level=chosen.log_level, form=chosen.log_format)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # chassis.migrations tells the same, shorter
    try:
        provision(chosen)
    except roles.UnfitDatabase as error:
        logger.error(str(error))  # noqa: TRY400 - the message says it all
        return 1
    return 0


def provision(chosen: settings.Settings) -> None:
    """Take the three steps: roles, migrations, streams."""
    admin_url = database_url.protect(chosen.admin_database_url, chosen.certificate)
    roles.await_database(admin_url, seconds=WAIT_SECONDS)
    roles.provision(admin_url, chosen.passwords)
    for service, password in chosen.passwords.items():
        url = roles.service_url(admin_url, service, password)
        migrations.upgrade(url, service, SERVICES_FOLDER / service / "migrations")
    asyncio.run(
        streams.provision(
            chosen.nats_url, tuple(chosen.passwords), seconds=WAIT_SECONDS, certificate=chosen.certificate
        )
    )
    logger.info("everything is in place")


def make_certificates(folder: Path) -> int:
    """Bring the certificates below `folder` to what they should be."""
    from provision import certificates

    logs.configure("certificates", level=os.environ.get("LOG_LEVEL", "info"), form=os.environ.get("LOG_FORMAT", "text"))
    if not certificates.make(folder):
        logger.info("all certificates are good")
    return 0


def print_keys() -> int:
    """Print a new set of secrets, as lines for .env."""
    from provision import keys

    sys.stdout.writelines(f"{name}={value}\n" for name, value in keys.fresh().items())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
