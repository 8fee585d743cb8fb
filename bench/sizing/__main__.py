"""Command line: `python -m bench.sizing --users 1000000 --jobs-per-second 10000 --streams 1000000`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence

from bench.sizing import costs, model


def main(arguments: Sequence[str]) -> None:
    """Print what the load needs, and which limit it reaches first."""
    for line in report(*parse(arguments)):
        print(line)


def parse(arguments: Sequence[str]) -> tuple[model.Load, model.Server]:
    """Return the load and the database server of the command line; exit with a message that names what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.sizing", description=model.__doc__)
    for kind in (model.Load, model.Server):
        for field in dataclasses.fields(kind):
            required = field.default is dataclasses.MISSING
            number = int if field.type == "int" else float
            default = None if required else field.default
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=number, required=required, default=default)
    values = vars(parser.parse_args(arguments))
    if wrong := [
        name for name, value in values.items() if value < 0 or (name in ("users", "cores", "usage") and not value)
    ]:
        parser.error(f"{', '.join(wrong)}: must be above 0")
    load = model.Load(**{field.name: values[field.name] for field in dataclasses.fields(model.Load)})
    server = model.Server(**{field.name: values[field.name] for field in dataclasses.fields(model.Server)})
    return load, server


def report(load: model.Load, server: model.Server) -> list[str]:
    lines = ["| | processors | processes | memory | connections |", "|---|---|---|---|---|"]
    for name, need in sorted(model.needs(load, server).items()):
        memory = f"{need.memory / costs.GIB:,.1f} GiB"
        lines.append(f"| {name} | {need.processors:,.1f} | {need.processes:,} | {memory} | {need.connections:,} |")
    busy = model.processors(load)
    lines += [f"| {name} | {busy[name]:,.1f} | | | |" for name in ("postgres", "nats")]
    lines += [
        "",
        f"WAL {model.wal(load) / costs.MIB:,.0f} MiB/s at most; finished jobs {model.disk(load) / costs.TIB:,.1f} TiB.",
        f"Frames {model.frames(load):,.0f}/s; new streams {load.streams / costs.STREAM_SECONDS:,.0f}/s.",
        "",
        "| limit, of one database server | reached | remedy |",
        "|---|---|---|",
    ]
    limits = model.limits(load, server)
    lines += [f"| {limit.name} | {limit.used:,.2f} × | {limit.remedy} |" for limit in limits]
    return [*lines, "", f"First: {limits[0].name}. Database servers: {model.shards(load, server)}."]


if __name__ == "__main__":
    main(sys.argv[1:])
