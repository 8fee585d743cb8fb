"""Readable names of user agents."""

from __future__ import annotations

import logging

import ua_parser

from services.auth import validation

logger = logging.getLogger(__name__)

NAME_LIMIT = 100


def name(user_agent: str) -> str:
    """Return for example `Firefox on Linux`; empty if unknown. Never raises: the name is for display only."""
    try:
        client = ua_parser.parse(user_agent[: validation.USER_AGENT_LIMIT])
    except Exception:
        logger.exception("user agent not parsed")
        return ""
    browser = client.user_agent.family if client.user_agent else ""
    system = client.os.family if client.os else ""
    return " on ".join(filter(None, (browser, system)))[:NAME_LIMIT]
