"""Repruv on this machine: `python -m dev up` starts it, `demo` shows what it can do, `admin` steers its jobs, `reset` deletes
its data."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from dev.launcher import reset, up
from dev.launcher.stack import ROOT


def main(arguments: list[str]) -> int:
    """Run a command; gives its exit code."""
    if arguments[:1] == ["demo"]:
        return int(importlib.import_module("dev.demo").main(arguments[1:]) or 0)
    if arguments[:1] == ["admin"]:
        return int(importlib.import_module("dev.admin").main(arguments[1:], ROOT / ".data"))
    parser = argparse.ArgumentParser(prog="python -m dev", description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=ROOT / ".data", help="default: .data")
    commands = parser.add_subparsers(required=True, dest="command")
    command = commands.add_parser("up", help="start everything and show its lines, until Ctrl-C")
    command.add_argument(
        "--scale", action="append", default=[], metavar="NAME=N", help="how many replicas of a process"
    )
    command.add_argument("--compose-file", type=Path, default=ROOT / "docker-compose.yml", help=argparse.SUPPRESS)
    commands.add_parser("demo", help="show what it can do")
    commands.add_parser("admin", help="see and steer the job engine")
    commands.add_parser("reset", help="delete all data, after asking")
    chosen = parser.parse_args(arguments)
    if chosen.command == "reset":
        return reset.run(chosen.data_dir)
    try:
        scale = _scale([*os.environ.get("SCALE", "").split(), *chosen.scale])
    except ValueError as error:
        parser.error(str(error))
    return up.run(data_dir=chosen.data_dir, scale=scale, compose_file=chosen.compose_file)


def _scale(settings: list[str]) -> dict[str, int]:
    scale = {}
    for setting in settings:
        name, _, number = setting.partition("=")
        if not number.isdigit() or int(number) < 1:
            raise ValueError(f"--scale wants NAME=N with N of at least 1, not {setting!r}")
        scale[name] = int(number)
    return scale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
