"""`python -m dev.practice PORT REDIRECT_PREFIX` serves the practice platform on 127.0.0.1 until it is told to stop."""

from __future__ import annotations

import sys

import uvicorn

from dev import practice
from dev.practice.app import Practice


def main(arguments: list[str]) -> None:
    """Serve."""
    port, redirect_prefix = int(arguments[0]), arguments[1]
    served = Practice(practice.issuer(port), redirect_prefix).app
    uvicorn.run(served, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1:])
