"""A progress bar on a terminal, lines of a log elsewhere."""

from __future__ import annotations

import logging
import sys

logger = logging.getLogger(__name__)

WIDTH = 30
LOGGED_SHARE = 0.1


class Progress:
    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = max(total, 1)
        self._done = 0
        self._logged = 0.0

    def advance(self, count: int) -> None:
        """Report that further rows are done."""
        self._done += count
        share = min(self._done / self._total, 1.0)
        if sys.stderr.isatty():
            bar = "#" * int(share * WIDTH)
            end = "\n" if share == 1.0 else ""
            sys.stderr.write(
                f"\r{self._label:<22} [{bar:<{WIDTH}}] {share:>4.0%} {self._done:,} of {self._total:,}{end}"
            )
            sys.stderr.flush()
        elif share >= self._logged + LOGGED_SHARE or share == 1.0 > self._logged:
            self._logged = share
            logger.info("%s: %s of %s", self._label, f"{self._done:,}", f"{self._total:,}")
