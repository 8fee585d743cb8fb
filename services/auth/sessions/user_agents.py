"""What a user agent is in words that people know."""

from __future__ import annotations

import logging

import ua_parser

from services.auth.accounts import validation

logger = logging.getLogger(__name__)

NAME_LIMIT = 100


def name(user_agent: str) -> str:
    """Give for example `Firefox on Linux`; empty when it says nothing that is known. Never raises: it is only shown."""
    try:
        found = ua_parser.parse(user_agent[: validation.USER_AGENT_LIMIT])
    except Exception:
        logger.exception("a user agent could not be read")
        return ""
    browser = found.user_agent.family if found.user_agent else ""
    system = found.os.family if found.os else ""
    return " on ".join(filter(None, (browser, system)))[:NAME_LIMIT]
