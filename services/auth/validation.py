"""Validation of user input and of client metadata. Pure: no database, no clock."""

from __future__ import annotations

import functools
import ipaddress
import re
import unicodedata
from pathlib import Path

from chassis import email_addresses, errors, time_zones
from services.auth.domain import Client, RevokeReason

PASSWORD_LENGTHS = (10, 128)
NAME_LIMIT = 100
USER_AGENT_LIMIT = 400
CODE_LIMIT = 40
_DEVICE = re.compile(r"[A-Za-z0-9_-]{0,64}")

_OTHER_DASHES = "\N{MINUS SIGN}\N{HYPHEN BULLET}\N{MODIFIER LETTER MINUS SIGN}"
"""Dashes that Unicode does not call dashes."""
_JOINERS = "\u200c\u200d"
"""Parts of words in Persian and of emoji; all other format characters, such as bidi controls, can disguise a name."""
_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols without a glyph."""


def normalize_email(email: str) -> str:
    """Return the canonical form of an address: lower case, international domains in xn-- form. Raises `InvalidArgument`."""
    try:
        return email_addresses.normalize(email)
    except ValueError:
        raise _invalid_email() from None


def check_password(password: str, *, email: str, field: str = "password") -> None:
    """Raise `InvalidArgument` naming `field` unless `password` may protect the account of the normalised `email`."""
    least, most = PASSWORD_LENGTHS
    if not least <= len(password) <= most:
        raise errors.InvalidArgument(f"Use {least} to {most} characters.", code="invalid_password", field=field)
    _refuse_control_characters(password, field)
    folded = password.strip().lower()
    if folded in (email, email.partition("@")[0]):
        raise errors.InvalidArgument(
            "Don't use your email address as your password.",
            code="weak_password",
            field=field,
        )
    if folded in _common_passwords() or len(set(folded)) < 4:
        raise errors.InvalidArgument(
            "This password is too easy to guess. Use a few unrelated words instead.",
            code="weak_password",
            field=field,
        )


def clean_code(code: str) -> str:
    """Return a code in lower case without spaces, dashes and invisible characters; empty if it is too long or not ASCII."""
    if len(code) > CODE_LIMIT:
        return ""
    plain = unicodedata.normalize("NFKC", code)
    cleaned = "".join(character for character in plain if not _separates(character)).lower()
    return cleaned if cleaned.isascii() else ""


def clean_name(name: str) -> str:
    """Return a display name without surrounding space, possibly empty. Raises `InvalidArgument`."""
    cleaned = name.strip()
    if len(cleaned) > NAME_LIMIT:
        raise errors.InvalidArgument(f"Use at most {NAME_LIMIT} characters.", field="name")
    _refuse_control_characters(cleaned, "name")
    if any(unicodedata.category(character) == "Cf" and character not in _JOINERS for character in cleaned):
        raise errors.InvalidArgument("Remove the invisible characters from the name.", field="name")
    if cleaned and not any(map(_is_visible, cleaned)):
        raise errors.InvalidArgument("Enter a name with at least one visible character.", field="name")
    return cleaned


def check_time_zone(name: str) -> str:
    """Return the name of an IANA time zone; empty stays empty. Raises `InvalidArgument`."""
    if name and time_zones.find(name) is None:
        raise errors.InvalidArgument("Choose a time zone such as Europe/Berlin.", field="time_zone")
    return name


def clean_client(*, user_agent: str, ip_address: str, device: str = "") -> Client:
    """Return the client of a call. Raises `InvalidArgument` for an invalid IP address or device.

    Control characters in the user agent are replaced, not refused: it is for display only, and an odd header must not prevent
    sign-in.
    """
    printable = "".join(" " if _is_control(character) else character for character in user_agent[:USER_AGENT_LIMIT])
    if not _DEVICE.fullmatch(device):
        raise errors.InvalidArgument("The client's device must be a random text.", field="client")
    return Client(user_agent=printable.strip(), ip_address=_clean_address(ip_address), device=device)


def parse_revoke_reason(reason: str) -> RevokeReason:
    """Parse the reason of a revocation: `logout`, or empty for any other. Raises `InvalidArgument`."""
    if reason not in ("", RevokeReason.LOGOUT):
        raise errors.InvalidArgument("The reason must be `logout` or empty.", field="reason")
    return RevokeReason(reason or RevokeReason.REVOKED)


def _clean_address(text: str) -> str:
    if not text:
        return ""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise errors.InvalidArgument("The client's address must be an IP address.", field="client") from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(address)


def _refuse_control_characters(text: str, field: str) -> None:
    # PostgreSQL rejects NUL in text, and the others have no place in displayed text.
    if any(map(_is_control, text)):
        raise errors.InvalidArgument(f"The {field} must not contain control characters.", field=field)


def _separates(character: str) -> bool:
    # Apps and mail programs copy codes with tabs, line ends, no-break spaces, soft hyphens, zero-width and bidi characters.
    return (
        character in _OTHER_DASHES
        or unicodedata.category(character) in ("Zs", "Zl", "Zp", "Cf", "Pd")
        or character.isspace()
    )


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNPS" and character not in _BLANKS


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Zl", "Zp")


def _invalid_email() -> errors.InvalidArgument:
    return errors.InvalidArgument(
        "Enter an email address like name@example.org, without accents before the @.",
        code="invalid_email",
        field="email",
    )


@functools.cache
def _common_passwords() -> frozenset[str]:
    return frozenset(Path(__file__).with_name("common_passwords.txt").read_text(encoding="utf-8").split("\n"))
