"""Email templates. Pure: an address and a link in, an email out."""

from __future__ import annotations

import html
import urllib.parse
from enum import StrEnum

from services.auth.email.message import Email


class Notice(StrEnum):
    """A change that the account's owner is notified of, in case another person made it."""

    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a change, no password
    SECOND_FACTOR_ENABLED = "second_factor_enabled"
    SECOND_FACTOR_DISABLED = "second_factor_disabled"
    PASSKEY_ADDED = "passkey_added"
    PASSKEY_REMOVED = "passkey_removed"


_CHANGES = {
    Notice.PASSWORD_CHANGED: ("Your password was changed", "The password of your Repruv account was changed"),
    Notice.SECOND_FACTOR_ENABLED: (
        "Two-step sign-in is on",
        "Signing in to your Repruv account now requires a code from your authenticator app",
    ),
    Notice.SECOND_FACTOR_DISABLED: (
        "Two-step sign-in is off",
        "Signing in to your Repruv account no longer requires a code from your authenticator app",
    ),
    Notice.PASSKEY_ADDED: (
        "A passkey was added",
        "A passkey was added to your Repruv account. It allows signing in without the password",
    ),
    Notice.PASSKEY_REMOVED: ("A passkey was removed", "A passkey was removed from your Repruv account"),
}


def verify(to: str, *, public_url: str, token: str) -> Email:
    """Ask the owner of an address to verify it."""
    link = _link(public_url, "verify-email", token)
    return _email(
        to,
        "Confirm your e-mail address",
        ["Please confirm that this is your address. The link is valid for 24 hours and works once."],
        ("Confirm this address", link),
        "If you did not create a Repruv account, ignore this email and do not follow the link.",
    )


def already_registered(to: str, *, public_url: str) -> Email:
    """Tell the owner of an account about a second registration with the same address."""
    return _email(
        to,
        "You already have an account",
        [
            "A Repruv account was requested for this address. You already have one: sign in with it.",
            f"If you forgot its password, set a new one: {public_url}/forgot-password",
        ],
        ("Sign in", f"{public_url}/login"),
        "If this was not you, there is nothing to do: nothing has changed.",
    )


def reset(to: str, *, public_url: str, token: str) -> Email:
    """Let the owner of an address set a new password."""
    link = _link(public_url, "reset-password", token)
    return _email(
        to,
        "Set a new password",
        [
            "A new password was requested. The link is valid for 30 minutes and works once.",
            "All your sessions will end, and your passkeys will be removed.",
        ],
        ("Set a new password", link),
        "If this was not you, ignore this email: your password stays unchanged.",
    )


def notice(to: str, change: Notice, *, public_url: str) -> Email:
    """Notify the owner of a change to the account."""
    subject, sentence = _CHANGES[change]
    return _email(
        to,
        subject,
        [f"{sentence}."],
        ("Review your account's security", f"{public_url}/settings/security"),
        f"If this was not you, set a new password now: {public_url}/forgot-password",
    )


def _link(public_url: str, page: str, token: str) -> str:
    return f"{public_url}/{page}?token={urllib.parse.quote(token, safe='')}"


def _email(to: str, subject: str, paragraphs: list[str], action: tuple[str, str], closing: str) -> Email:
    title, link = action
    text = "\n\n".join([*paragraphs, f"{title}:\n{link}", closing, "Repruv"])
    body = "\n".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in paragraphs)
    button = f'<p><a href="{html.escape(link)}">{html.escape(title)}</a></p>'
    page = f"<!doctype html>\n<html><body>\n{body}\n{button}\n<p>{html.escape(closing)}</p>\n</body></html>\n"
    return Email(to=to, subject=subject, text=text + "\n", html=page, link=link)
