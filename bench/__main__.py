"""Command line: `python -m bench [SUITE ...]` prints one table and leaves nothing behind."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence

import uvloop
from rich.console import Console

from bench import budget, latency, overload, report
from bench.monolith import enable as monolith
from bench.samples import Section
from bench.system import SETTINGS, System, running

Suite = Callable[[System], Awaitable[list[Section]]]
SUITES: Mapping[str, Suite] = {
    "monolith": monolith.run,
    "budget": budget.run,
    "latency": latency.run,
    "overload": overload.run,
}

CONDITIONS = (
    "The delivered processes, one of each, with PostgreSQL and NATS syncing every commit to disk; load and system share "
    f"the processors. Not as delivered: {', '.join(f'{name}={value}' for name, value in SETTINGS.items())}."
)


def main(arguments: Sequence[str]) -> int:
    """Run the named suites. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"{', '.join(SUITES)} or all (the default)")
    suites = parser.parse_args(arguments).suites or ["all"]
    if strange := sorted(set(suites) - {*SUITES, "all"}):
        parser.error(f"there is no suite {', '.join(strange)}")
    names = list(SUITES) if "all" in suites else list(dict.fromkeys(suites))
    with Console(stderr=True).status("starting") as status, running() as stack:

        async def measure() -> list[Section]:
            system = System(stack)
            sections = []
            for name in names:
                status.update(f"measuring {name}")
                sections += await SUITES[name](system)
            return sections

        sections = uvloop.run(measure())
        status.update("stopping")
    report.show(sections, CONDITIONS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
