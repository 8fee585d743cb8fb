"""`python -m dev up` starts Repruv on this machine; `python -m dev demo` shows what it can do."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from dev.launcher import up
from dev.launcher.stack import ROOT


def main(arguments: list[str]) -> int:
    """Run a command; gives its exit code."""
    if arguments[:1] == ["demo"]:
        return int(importlib.import_module("dev.demo").main(arguments[1:]) or 0)
    parser = argparse.ArgumentParser(prog="python -m dev", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("up", help="start everything and show its lines, until Ctrl-C")
    command.add_argument(
        "--scale", action="append", default=[], metavar="NAME=N", help="how many replicas of a process"
    )
    command.add_argument("--data-dir", type=Path, default=ROOT / ".data", help="default: .data")
    command.add_argument("--compose-file", type=Path, default=ROOT / "docker-compose.yml", help=argparse.SUPPRESS)
    commands.add_parser("demo", help="show what it can do")
    chosen = parser.parse_args(arguments)
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
