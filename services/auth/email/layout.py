"""The layout of emails: the same paragraphs, button and closing as plain text and as HTML in the look of the product. Pure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from services.auth.email.message import Email

# Mail programs apply inline styles everywhere; those that also apply <style> get the dark colours.
_DARK = (
    "@media (prefers-color-scheme: dark) {"
    " .ground { background: #0d1517 !important; }"
    " .card { background: #142023 !important; border-color: #283a3f !important; color: #e6eff0 !important; }"
    " .button { background: #1a7485 !important; }"
    " .link { color: #6cc5d4 !important; }"
    " .soft { color: #a3b7bb !important; } }"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>{subject}</title>
<style>{dark}</style>
</head>
<body class="ground" style="margin:0;padding:24px 12px;background:#f3f6f6;font:16px/1.5 system-ui,sans-serif">
<div class="card" style="max-width:520px;margin:0 auto;padding:28px;background:#ffffff;border:1px solid #d8e1e2;\
border-radius:16px 16px 16px 4px;color:#13262a">
<p style="margin:0 0 16px;font-weight:700">Repruv</p>
<h1 style="margin:0 0 12px;font-size:22px;line-height:1.3">{subject}</h1>
{paragraphs}
<p style="margin:24px 0"><a class="button" href="{link}" style="display:inline-block;padding:12px 20px;\
background:#0d5c6b;border-radius:10px 10px 10px 3px;color:#ffffff;font-weight:600;text-decoration:none">{title}</a></p>
<p class="soft" style="margin:0;color:#4b6065;font-size:14px">{closing}</p>
</div>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Linked:
    """A paragraph that is a link."""

    text: str
    link: str


Paragraphs = Sequence[str | Linked]


def local_time(moment: datetime, zone: tzinfo) -> str:
    """Return for example 14 Nov 2026, 10:30 CET."""
    local = moment.astimezone(zone)
    name = local.tzname() or ""
    return f"{local.day} {local:%b %Y, %H:%M} {name if name.isalpha() else f'UTC{name}'}"


def email(to: str, subject: str, paragraphs: Paragraphs, action: tuple[str, str], closing: str) -> Email:
    """Return an email with one action, as plain text and HTML."""
    return Email(
        to=to,
        subject=subject,
        text=_plain(paragraphs, action, closing),
        html=_page(subject, paragraphs, action, closing),
        link=action[1],
    )


def _plain(paragraphs: Paragraphs, action: tuple[str, str], closing: str) -> str:
    """Return the email as plain text, with each link on a line of its own."""
    title, link = action
    texts = [part if isinstance(part, str) else f"{part.text}\n{part.link}" for part in paragraphs]
    return "\n\n".join([*texts, f"{title}:\n{link}", closing, "Repruv"]) + "\n"


def _page(subject: str, paragraphs: Paragraphs, action: tuple[str, str], closing: str) -> str:
    """Return the email as HTML. It loads no resource, so nobody learns that it was opened."""
    title, link = action
    return _PAGE.format(
        subject=html.escape(subject),
        dark=_DARK,
        paragraphs="\n".join(
            f'<p style="margin:0 0 12px">{_paragraph_html(paragraph)}</p>' for paragraph in paragraphs
        ),
        link=html.escape(link),
        title=html.escape(title),
        closing=html.escape(closing),
    )


def _paragraph_html(paragraph: str | Linked) -> str:
    if isinstance(paragraph, str):
        return html.escape(paragraph)
    return (
        f'<a class="link" href="{html.escape(paragraph.link)}" style="color:#0d5c6b">{html.escape(paragraph.text)}</a>'
    )
