"""The Jinja environment of the pages: filters that format numbers, times and names."""

from __future__ import annotations

import functools
import hashlib
import pathlib

import jinja2

from gateway import durations, labels, plurals, views
from gateway.pages import charts, devices, moments, sparklines

TEMPLATES = pathlib.Path(__file__).parents[1] / "templates"
STATIC = pathlib.Path(__file__).parents[1] / "static"

TONES = 6
"""Colours of avatars in the style sheet."""
_SIZES = ((1_000, "KB"), (1_000_000, "MB"), (1_000_000_000, "GB"))
_UNITS = ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "K"))
_NONE = moments.NONE


def environment() -> jinja2.Environment:
    """Return an environment that escapes everything and fails on undefined names."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (
        compact,
        number,
        percent,
        plurals.counted,
        file_size,
        moments.date,
        moments.exact,
        moments.time,
        label,
        event_name,
        initials,
        tone,
    )
    spans = (durations.duration, durations.brief, durations.age, durations.left, durations.until)
    env.filters.update({function.__name__: function for function in (*filters, *spans)})
    env.filters.update(notice_names=lambda names: ", ".join(labels.NOTICES[name] for name in names))
    env.filters.update(kind_name=labels.kind, state_name=labels.state, stuck_words=labels.stuck)
    env.filters.update(shown_status=labels.shown_status)
    env.filters.update(apart=lambda times: durations.brief(durations.between(*times)))
    env.filters.update(device=devices.device, client=devices.client)
    env.filters.update(worker_name=labels.worker, problem_name=labels.problem)
    env.filters.update(input_time=moments.input_time)
    env.tests.update(recent=moments.recent, future=moments.future, unstoppable=lambda kind: kind in views.UNSTOPPABLE)
    env.globals.update(
        spark_bars=sparklines.bars,
        spark_line=sparklines.line,
        asset=asset,
        bar_chart=charts.bar_chart,
        chart_ticks=charts.ticks,
        chart_weeks=charts.weeks,
        chart_change=charts.change,
        chart_share=charts.share,
        segments=charts.segments,
        share_columns=charts.share_columns,
    )
    env.globals.update(time_zone_name=moments.zone_name, server_time=moments.now)
    return env


def compact(value: float | None) -> str:
    """1.2K, 3.4M: at most one digit after the point, none when it would be zero; whole below a thousand."""
    if value is None:
        return _NONE
    if abs(value) < 1_000:
        return f"{value:.0f}"
    for position, (size, unit) in enumerate(_UNITS):
        if abs(value) >= size:
            rounded = round(value / size, 1)
            if abs(rounded) >= 1_000 and position:  # 999,950 reads 1M, not 1000K
                rounded, unit = round(value / _UNITS[position - 1][0], 1), _UNITS[position - 1][1]
            return f"{rounded:g}{unit}"
    raise AssertionError("unreachable: every value of a thousand and more has a unit")


def number(value: float | None, digits: int = 0) -> str:
    """4,213; or 4.3 with one digit."""
    return _NONE if value is None else f"{value:,.{digits}f}"


def percent(share: float | None) -> str:
    """Format a share of 0 to 1 as 87%. A share above 0 is never shown as 0%, one below 1 never as 100%."""
    if share is None:
        return _NONE
    rounded = round(share * 100)
    if rounded == 0 and share > 0:
        return "<1%"
    if rounded == 100 and share < 1:
        return "99%"
    return f"{rounded}%"


def file_size(size: int) -> str:
    """640 B, 12.4 KB, 56.8 MB: in units of a thousand, as browsers and phones show sizes of downloads."""
    for limit, unit in reversed(_SIZES):
        if size >= limit:
            return f"{size / limit:,.1f} {unit}"
    return f"{size} B"


def event_name(kind: str) -> str:
    """Describe a security event: `login_failed` is Incorrect password at sign-in."""
    return labels.SECURITY_EVENTS.get(kind) or label(kind)


_NAMES = {
    "auto": "Pick for me",
    "content_count": "Content items",
    "interaction_count": "Interactions",
    "youtube": "YouTube",
    "tiktok": "TikTok",
    "linkedin": "LinkedIn",
    "x": "X",
}


def label(value: str) -> str:
    """Format an identifier for people: `tech_reviews` is Tech reviews."""
    return _NAMES.get(value) or labels.words(value)


def initials(name: str) -> str:
    """One or two capitals that stand for a name."""
    words = [word for word in name.replace("@", " ").split() if word[0].isalnum()]
    return "".join(word[0].upper() for word in (words[:1] + words[1:][-1:])) or "?"


def tone(name: str) -> int:
    """1 to `TONES`: the same name always gets the same colour."""
    return hashlib.blake2s(name.encode(), digest_size=2).digest()[0] % TONES + 1


@functools.cache
def asset(path: str) -> str:
    """Return the URL of a static file. It changes with each release, so that it can be cached permanently.

    The release stands before the path: modules import each other by relative addresses, and so from the same release.
    """
    if not (STATIC / path).is_file():
        raise FileNotFoundError(path)
    return f"/static/{release()}/{path}"


@functools.cache
def release() -> str:
    """Name the content of all static files together."""
    files = sorted(path for path in STATIC.rglob("*") if path.is_file())
    return version_of(b"".join(version_of(path.read_bytes()).encode() for path in files))


def version_of(content: bytes) -> str:
    """Name a file's content."""
    return hashlib.blake2s(content, digest_size=6).hexdigest()
