"""`python -m provision` brings PostgreSQL and NATS to what the services need; `… keys` prints new secrets for .env."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

from chassis import logs, migrations
from provision import roles, settings, streams

logger = logging.getLogger("provision")

WAIT_SECONDS = 60.0
SERVICES_FOLDER = Path(__file__).parent.parent / "services"


def main(arguments: list[str]) -> int:
    """Run a command; gives its exit code."""
    if arguments == ["keys"]:
        return print_keys()
    if arguments:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        chosen = settings.read(os.environ)
    except settings.SettingsError as error:
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
    roles.await_database(chosen.admin_database_url, seconds=WAIT_SECONDS)
    roles.provision(chosen.admin_database_url, chosen.passwords)
    for service, password in chosen.passwords.items():
        url = roles.service_url(chosen.admin_database_url, service, password)
        migrations.upgrade(url, service, SERVICES_FOLDER / service / "migrations")
    asyncio.run(streams.provision(chosen.nats_url, tuple(chosen.passwords), seconds=WAIT_SECONDS))
    logger.info("everything is in place")


def print_keys() -> int:
    """Print a new set of secrets, as lines for .env."""
    from provision import keys  # needs a cryptography package, which the one-shot does without

    sys.stdout.writelines(f"{name}={value}\n" for name, value in keys.fresh().items())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
