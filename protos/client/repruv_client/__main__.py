"""`python -m repruv_client NAME` creates the identity key of a calling service.

The first line is the secret, for the calling service. The second line is the entry for TRUSTED_IDENTITY_KEYS, for the operator.
"""

from __future__ import annotations

import sys

from repruv_client import credentials


def main(arguments: list[str]) -> int:
    """Print a new key of the service that the argument names. Return the exit code."""
    if len(arguments) != 1 or not arguments[0].isidentifier():
        sys.stderr.write(f"{__doc__}\nNAME has letters, digits and underscores only.\n")
        return 2
    identity_key = credentials.new_identity_key()
    sys.stdout.write(f"IDENTITY_KEY={identity_key}\n{arguments[0]}:{credentials.public_key(identity_key)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
