"""The command line: one command, one answer, an exit code, and one line on an error."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping

from chassis import errors
from services.jobs.admin import arguments, commands, connection


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    """Run a command; return the exit code: 0, 1 on an error, 2 on a usage error."""
    args = arguments.parse(argv)
    try:
        code = asyncio.run(run(args, environ))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has closed the pipe. Without the redirect, the flush at exit would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


async def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run a parsed command; return the exit code."""
    try:
        async with connection.connected(environ) as jobs:
            try:
                return await commands.COMMANDS[args.command](jobs, args)
            except errors.Unavailable as error:
                if error.code == error.default_code:
                    raise errors.Unavailable(f"{jobs.target} does not answer.") from error
                raise
    except errors.Error as error:
        return _fail(_explanation(error))
    except connection.NotConfigured as error:
        return _fail(str(error))


def _explanation(error: errors.Error) -> str:
    where = f" ({error.field})" if error.field else ""
    return f"{error.code}{where}: {error.message}"


def _fail(message: str) -> int:
    print(f"jobs admin: {' '.join(message.split())}", file=sys.stderr)
    return 1
