"""Repruv on this machine: `python -m dev COMMAND`.

`up` starts it, `demo` tries it, `job` runs the job kinds of a file, `admin` controls its jobs, `psql` opens its
database, `promote` fails the database over, `reset` deletes all data.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    """Run a command. Return its exit code.

    It imports its modules here: Ctrl-C may come before the command handles it.
    """
    if arguments and arguments[0] in {"demo", "admin", "psql"}:  # they parse their own options
        return int(importlib.import_module(f"dev.{arguments[0]}").main(arguments[1:], ROOT / ".data"))
    parser = argparse.ArgumentParser(prog="python -m dev", description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=ROOT / ".data", help="default: .data")
    commands = parser.add_subparsers(required=True, dest="command")
    command = commands.add_parser("up", help="start everything and show the log until Ctrl-C")
    command.add_argument(
        "--scale", action="append", default=[], metavar="NAME=N", help="number of replicas of a process"
    )
    command.add_argument("--compose-file", type=Path, default=ROOT / "docker-compose.yml", help=argparse.SUPPRESS)
    command.add_argument("--ha", action="store_true", help="run PostgreSQL with a standby and three NATS nodes")
    commands.add_parser("promote", help="make the standby of a stack with --ha the primary")
    commands.add_parser("demo", help="enable demo mode from the terminal")
    command = commands.add_parser("job", help="run the job kinds of a file, and reload it when it changes")
    command.add_argument("file")
    command.add_argument("payload", nargs="?", default="", help="submit a job of the first kind: its payload in JSON")
    commands.add_parser("admin", help="inspect and control jobs")
    commands.add_parser("psql", help="open the database with psql, as the superuser")
    commands.add_parser("reset", help="delete all data after a confirmation")
    args = parser.parse_args(arguments)
    if args.command in {"reset", "promote"}:
        return int(importlib.import_module(f"dev.launcher.{args.command}").run(args.data_dir))
    if args.command == "job":
        return int(importlib.import_module("dev.job").run(args.file, args.payload, args.data_dir))
    up = importlib.import_module("dev.launcher.up")
    try:
        port = _port(os.environ.get("GATEWAY_PORT") or str(up.DEFAULT_PORT))
        scale = _scale([*os.environ.get("SCALE", "").split(), *args.scale])
    except ValueError as error:
        parser.error(str(error))
    ha = args.ha or os.environ.get("HA", "") not in ("", "0")
    return int(up.run(data_dir=args.data_dir, port=port, scale=scale, ha=ha, compose_file=args.compose_file))


def _port(setting: str) -> int:
    if not setting.isdecimal() or int(setting) > 65_535:
        raise ValueError(f"GATEWAY_PORT must be a port up to 65535, or 0 for any free one, not {setting!r}")
    return int(setting)


def _scale(settings: list[str]) -> dict[str, int]:
    scale = {}
    for setting in settings:
        name, _, number = setting.partition("=")
        if not number.isdecimal() or int(number) < 1:
            raise ValueError(f"--scale expects NAME=N with N of at least 1, not {setting!r}")
        scale[name] = int(number)
    return scale


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
