"""Provision PostgreSQL and NATS for the services.

`python -m provision` creates or updates roles, schemas, tables and streams; `… keys` prints new secrets for .env;
`… certificates FOLDER [SERVICE…]` creates certificates for development, also for services outside this repository, and renews
those that expire soon;
`… import-legacy --from DATABASE_URL [--dry-run] [--report FILE]` imports the database of the old system.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from pathlib import Path

from chassis import database_url, migrations, process, settings
from provision import roles, streams
from provision.settings import ImportSettings, Settings

logger = logging.getLogger("provision")

WAIT_SECONDS = 60.0
SERVICES_FOLDER = Path(__file__).parent.parent / "services"


def main(arguments: list[str]) -> int:
    """Run a command and return its exit code."""
    if arguments == ["keys"]:
        return print_keys()
    if arguments[:1] == ["certificates"] and len(arguments) > 1:
        return make_certificates(Path(arguments[1]), arguments[2:])
    if arguments[:1] == ["import-legacy"]:
        return import_legacy(arguments[1:])
    if arguments:
        process.fail(f"{__doc__}")
    try:
        config = process.configure("provision", Settings, os.environ)
    except settings.SettingsError as error:
        process.fail(f"provision cannot start: {error}")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # chassis.migrations logs the same, shorter
    try:
        provision(config)
    except (roles.UnfitDatabase, roles.Unreachable, streams.Unreachable) as error:
        logger.error(str(error))  # noqa: TRY400 - the message is complete without a traceback
        return 1
    return 0


def provision(config: Settings) -> None:
    """Provision roles and schemas, tables, and streams."""
    admin_url = database_url.complete(config.admin_database_url, config.certificate)
    roles.await_database(admin_url, seconds=WAIT_SECONDS)
    roles.provision(admin_url, config.passwords)
    for service, password in config.passwords.items():
        url = roles.service_url(admin_url, service, password)
        migrations.upgrade(url, service, SERVICES_FOLDER / service / "migrations")
    asyncio.run(
        streams.provision(
            config.nats_url, tuple(config.passwords), seconds=WAIT_SECONDS, certificate=config.certificate
        )
    )
    logger.info("provisioned")


def import_legacy(arguments: list[str]) -> int:
    """Import the database of the old system, and print the report."""
    from provision.legacy import report, run, source

    parser = argparse.ArgumentParser(prog="python -m provision import-legacy")
    parser.add_argument("--from", dest="source", required=True, metavar="DATABASE_URL", help="the old database")
    parser.add_argument("--dry-run", action="store_true", help="report what an import would do, and store nothing")
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write the report to a file, as JSON")
    options = parser.parse_args(arguments)
    try:
        config = process.configure("import-legacy", ImportSettings, os.environ)
        if options.report:  # before the work of minutes
            options.report.open("a").close()
    except (settings.SettingsError, OSError) as error:
        process.fail(f"import-legacy cannot start: {error}")
    admin_url = database_url.complete(config.admin_database_url, config.certificate)
    try:
        result = run.run(options.source, admin_url, dry_run=options.dry_run)
    except (source.UnfitSource, run.AlreadyRunning) as error:
        logger.error(str(error))  # noqa: TRY400 - the message is complete without a traceback
        return 1
    if options.report:
        options.report.write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write(report.text(result) + "\n")
    return 0


def make_certificates(folder: Path, others: list[str]) -> int:
    """Create the certificates below `folder`, or renew those that expire soon."""
    from provision import certificates

    try:
        # It makes the files that other settings name.
        process.configure(
            "certificates", settings.Base, {name: os.environ.get(name, "") for name in ("LOG_LEVEL", "LOG_FORMAT")}
        )
    except settings.SettingsError as error:
        process.fail(f"certificates cannot start: {error}")
    if not all(name.isidentifier() for name in others):
        process.fail("the name of a service has letters, digits and underscores only")
    if not certificates.make(folder, others):
        logger.info("all certificates are valid")
    return 0


def print_keys() -> int:
    """Print new secrets as lines for .env."""
    from provision import keys

    sys.stdout.writelines(f"{name}={value}\n" for name, value in keys.fresh().items())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
