"""The canonical form of email addresses, in which accounts store them."""

from __future__ import annotations

import email_validator

LIMIT = 254


def normalize(email: str) -> str:
    """Return an address in lower case, its international domain in xn-- form. Raises `ValueError`."""
    trimmed = email.strip()
    if len(trimmed) > LIMIT:  # before anything that is slow for long texts
        raise ValueError("the address is too long")
    # IDNA 2008: ß and ς are letters of their own, as in the domains that registries sell.
    # EmailNotValidError is a ValueError.
    validated = email_validator.validate_email(trimmed, check_deliverability=False, allow_smtputf8=False, strict=True)
    return (validated.ascii_email or "").lower()
