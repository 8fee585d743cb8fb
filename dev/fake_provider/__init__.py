"""A platform to practise on: an OpenID provider on this machine, so that connecting can be tried without an account anywhere.

`make up` starts it beside the system. It knows no passwords and keeps nothing: whoever comes says who they want to be.
"""

from __future__ import annotations

NAME = "practice"
TITLE = "Practice platform"
CLIENT_ID = "repruv"
CLIENT_SECRET = "local-only-practice"  # noqa: S105 - published, and of no use anywhere else


def settings(port: int) -> dict[str, str]:
    """Give the variables by which the system offers it, first of the platforms."""
    prefix = f"PLATFORM_{NAME.upper()}"
    return {
        "PLATFORMS": f"{NAME},youtube,instagram",
        f"{prefix}_KIND": "oidc",
        f"{prefix}_TITLE": TITLE,
        f"{prefix}_ISSUER": issuer(port),
        f"{prefix}_CLIENT_ID": CLIENT_ID,
        f"{prefix}_CLIENT_SECRET": CLIENT_SECRET,
    }


def issuer(port: int) -> str:
    """Give the name by which it speaks of itself."""
    return f"http://127.0.0.1:{port}"
