"""What our mails say. Pure: an address and a link in, a mail out."""

from __future__ import annotations

import html
import urllib.parse
from enum import StrEnum

from services.auth.email.message import Email


class Notice(StrEnum):
    """What an owner is told of, so that a stranger's doing does not go unnoticed."""

    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - what happened
    SECOND_FACTOR_ENABLED = "second_factor_enabled"
    SECOND_FACTOR_DISABLED = "second_factor_disabled"
    PASSKEY_ADDED = "passkey_added"
    PASSKEY_REMOVED = "passkey_removed"


_HAPPENED = {
    Notice.PASSWORD_CHANGED: ("Your password was changed", "The password of your Repruv account was changed"),
    Notice.SECOND_FACTOR_ENABLED: (
        "Two-step sign-in is on",
        "Signing in to your Repruv account now takes a code of your authenticator app",
    ),
    Notice.SECOND_FACTOR_DISABLED: (
        "Two-step sign-in is off",
        "Signing in to your Repruv account no longer takes a code of your authenticator app",
    ),
    Notice.PASSKEY_ADDED: (
        "A passkey was added",
        "A passkey was added to your Repruv account, with which one can sign in without the password",
    ),
    Notice.PASSKEY_REMOVED: ("A passkey was removed", "A passkey of your Repruv account was removed"),
}


def verify(to: str, *, public_url: str, token: str) -> Email:
    """Ask the owner of an address to show that this mail arrived."""
    link = _link(public_url, "verify-email", token)
    return _mail(
        to,
        "Confirm your e-mail address",
        ["Please confirm that this is your address. The link is good for 24 hours, and counts once."],
        ("Confirm this address", link),
        "If you did not make an account at Repruv, leave this mail alone: do not follow the link.",
    )


def registered(to: str, *, public_url: str) -> Email:
    """Tell an owner that somebody tried to make a second account with the address."""
    return _mail(
        to,
        "You have an account already",
        [
            "Somebody, perhaps you, asked for a Repruv account with this address. There is one already: sign in with it.",
            f"If you no longer know its password, set a new one: {public_url}/forgot-password",
        ],
        ("Sign in", f"{public_url}/login"),
        "If this was not you, there is nothing to do: nothing was changed.",
    )


def reset(to: str, *, public_url: str, token: str) -> Email:
    """Let the owner of an address set a new password."""
    link = _link(public_url, "reset-password", token)
    return _mail(
        to,
        "Set a new password",
        [
            "A new password was asked for. The link is good for 30 minutes, and counts once.",
            "All your sessions will end, and your passkeys will be removed.",
        ],
        ("Set a new password", link),
        "If this was not you, leave this mail alone: your password stays as it is.",
    )


def notice(to: str, what: Notice, *, public_url: str) -> Email:
    """Tell an owner what was done to the account."""
    subject, happened = _HAPPENED[what]
    return _mail(
        to,
        subject,
        [f"{happened}."],
        ("Look at your account's security", f"{public_url}/settings/security"),
        f"If this was not you, set a new password at once: {public_url}/forgot-password",
    )


def _link(public_url: str, page: str, token: str) -> str:
    return f"{public_url}/{page}?token={urllib.parse.quote(token, safe='')}"


def _mail(to: str, subject: str, paragraphs: list[str], action: tuple[str, str], closing: str) -> Email:
    title, link = action
    text = "\n\n".join([*paragraphs, f"{title}:\n{link}", closing, "Repruv"])
    shown = "\n".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in paragraphs)
    button = f'<p><a href="{html.escape(link)}">{html.escape(title)}</a></p>'
    page = f"<!doctype html>\n<html><body>\n{shown}\n{button}\n<p>{html.escape(closing)}</p>\n</body></html>\n"
    return Email(to=to, subject=subject, text=text + "\n", html=page, link=link)
