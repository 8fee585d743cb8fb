"""Command line: audits every page as mobile and desktop. Fails when a page scores below the promised values."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bench import report
from bench.lighthouse import lighthouse
from bench.lighthouse.lighthouse import Audit, Verdict
from bench.pages import users
from bench.system import System
from dev import chromium

TARGETS = {"performance": 95, "accessibility": 100, "best-practices": 100}
PRESETS = ("mobile", "desktop")
CONDITIONS = (
    "Lighthouse {version}, Chromium of this system, cold caches, the signed-in pages with an open stream of events. Speed is "
    "simulated from what was loaded: `mobile` is a slow 4G network and a processor four times slower, `desktop` a fast line."
)


def main(arguments: Sequence[str]) -> int:
    """Audit the pages. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.lighthouse", description=__doc__)
    parser.add_argument("pages", nargs="*", metavar="page", help="only pages whose name contains one of these words")
    parser.add_argument("--preset", choices=PRESETS, help="only this one")
    args = parser.parse_args(arguments)
    if chromium.executable() is None:
        parser.error(chromium.MISSING)
    directory = lighthouse.install()
    verdicts = []
    with Console(stderr=True).status("starting") as status, users.running_system() as stack:
        everyone = asyncio.run(users.prepare_users(System(stack)))
        audits = [
            Audit(page=page, preset=preset)
            for page in everyone.pages()
            if not args.pages or any(word in page.name for word in args.pages)
            for preset in PRESETS
            if preset == (args.preset or preset)
        ]
        status.update(f"auditing the first of {len(audits)}")
        for verdict in lighthouse.audit(directory, stack.url, audits):
            verdicts.append(verdict)
            status.update(f"{len(verdicts)} of {len(audits)} done, load {os.getloadavg()[0]:.1f}")
    _show(verdicts)
    return int(any(_misses(verdict) for verdict in verdicts))


def _show(verdicts: Sequence[Verdict]) -> None:
    table = Table(caption=CONDITIONS.format(version=lighthouse.VERSION), caption_justify="left")
    for name in ("page", "preset"):
        table.add_column(name, no_wrap=True)
    for name in ("performance", "accessibility", "best practices", "FCP", "LCP", "blocked", "CLS"):
        table.add_column(name, justify="right")
    for verdict in verdicts:
        scores = [_coloured(verdict.scores[name], target) for name, target in TARGETS.items()]
        table.add_row(verdict.page, verdict.preset, *scores, *_metrics(verdict))
    console = report.console()
    console.print(table)
    for verdict in verdicts:
        for complaint in (*_misses(verdict), *verdict.remarks):
            console.print(f"  - {verdict.page} ({verdict.preset}): {complaint}", markup=False)


def _misses(verdict: Verdict) -> list[str]:
    """Return the reasons why a page misses the promised scores."""
    low = [
        f"{name} {verdict.scores[name]} < {target}" for name, target in TARGETS.items() if verdict.scores[name] < target
    ]
    return [*([verdict.error] if verdict.error else []), *low]


def _coloured(score: int, target: int) -> str:
    return f"[green]{score}[/]" if score >= target else f"[red]{score}[/]"


def _metrics(verdict: Verdict) -> list[str]:
    metrics = verdict.metrics
    times = ("first-contentful-paint", "largest-contentful-paint", "total-blocking-time")
    shift = metrics["cumulative-layout-shift"]
    return [_milliseconds(metrics[name]) for name in times] + ["-" if shift is None else f"{shift:.3f}"]


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
