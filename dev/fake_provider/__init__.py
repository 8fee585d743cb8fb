"""A fake OpenID provider on this machine, to try platform connections without an account anywhere.

`make up` starts it beside the system. It has no passwords and stores nothing: the visitor chooses a name.
"""

from __future__ import annotations

NAME = "practice"
TITLE = "Practice platform"
CLIENT_ID = "repruv"
CLIENT_SECRET = "local-only-practice"  # noqa: S105 - published, and of no use anywhere else


def settings(port: int) -> dict[str, str]:
    """Return the environment variables that configure it as the first platform."""
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
    return f"http://127.0.0.1:{port}"
