"""`python -m dev.fake_provider PORT REDIRECT_PREFIX` serves the provider on 127.0.0.1 until it is stopped."""

from __future__ import annotations

import sys

import uvicorn

from dev import fake_provider
from dev.fake_provider.app import FakeProvider


def main(arguments: list[str]) -> None:
    port, redirect_prefix = int(arguments[0]), arguments[1]
    app = FakeProvider(fake_provider.issuer(port), redirect_prefix).app
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1:])
