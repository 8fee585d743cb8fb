"""Times on pages: in the reader's zone, with UTC in the tooltip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from typing import Any

import markupsafe

from gateway import durations
from gateway.views import times

NONE = "–"
"""Shown where there is no value."""
_AGES = ((86_400 * 7, 86_400, "d"), (86_400, 3_600, "h"), (3_600, 60, "min"))
_CALENDAR_DAY = len("2026-11-14")
_zone: ContextVar[tzinfo] = ContextVar("zone", default=UTC)


@contextmanager
def read_in(zone: tzinfo) -> Iterator[None]:
    """Format times in the zone of a reader while the context lasts."""
    token = _zone.set(zone)
    try:
        yield
    finally:
        _zone.reset(token)


def time(value: str | datetime | None, style: str = "minute", css: str = "") -> str:
    """Return the `<time>` element of a time in one of `_STYLES`: the reader's zone as text, UTC in the tooltip.

    pages.js keeps the styles `ago` and `until` current.
    """
    moment = _moment(value)
    if moment is None:
        return NONE
    live = f"data-{style}" if style in _LIVE else ""
    attributes = f'datetime="{times.utc(moment)}" title="{exact(moment)}"'
    more = "".join(f" {attribute}" for attribute in (f'class="{css}"' if css else "", live) if attribute)
    return markupsafe.Markup(f"<time {attributes}{more}>{_STYLES[style](moment)}</time>")  # noqa: S704 - no user input


def now() -> str:
    """Return the present time, by which pages.js corrects the clock of the browser."""
    return times.utc(datetime.now(UTC))


def ago(value: str | datetime | None, now: datetime | None = None) -> str:
    """How long ago, short: "just now", "5 min ago", "3 h ago", "2 d ago"; the date when a week has passed."""
    moment = _moment(value)
    if moment is None:
        return NONE
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if seconds < 60:  # clocks differ, so a time slightly ahead of ours is now as well
        return "just now"
    for limit, size, unit in reversed(_AGES):
        if seconds < limit:
            return f"{int(seconds // size)} {unit} ago"
    return date(moment)


def date(value: str | datetime | None, style: str = "day") -> str:
    """14 Nov 2026; `short` 14 Nov; `minute` 14 Nov 2026, 10:30 CET. A calendar day is the same in all zones."""
    moment = _moment(value)
    if moment is None:
        return NONE
    if not (isinstance(value, str) and len(value) == _CALENDAR_DAY):
        moment = moment.astimezone(_zone.get())
    day = f"{moment.day} {moment:%b}"
    if style == "short":
        return day
    return f"{day} {moment.year}, {moment:%H:%M} {_zone_name(moment)}" if style == "minute" else f"{day} {moment.year}"


def exact(value: str | datetime | None) -> str:
    """14 Nov 2026, 09:30:05.123 UTC, whatever the zone of the reader."""
    moment = _moment(value)
    if moment is None:
        return NONE
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%b} {moment.year}, {_to_the_millisecond(moment)} UTC"


def zone_name() -> str:
    """Return the name of the reader's zone, such as Europe/Berlin."""
    return str(_zone.get())


def input_time(value: str | datetime | None) -> str:
    """Return a time as a `datetime-local` field has it, in the reader's zone; empty without a time."""
    moment = _moment(value)
    if moment is None:
        return ""
    local = moment.astimezone(_zone.get())
    return f"{local:%Y-%m-%dT%H:%M:%S}" if local.second else f"{local:%Y-%m-%dT%H:%M}"


def recent(value: str | datetime | None, minutes: float = 10) -> bool:
    """Whether a time lies within the last minutes."""
    moment = _moment(value)
    return moment is not None and (datetime.now(UTC) - moment).total_seconds() < minutes * 60


def future(value: str | datetime | None) -> bool:
    """Whether a time is still to come."""
    moment = _moment(value)
    return moment is not None and moment > datetime.now(UTC)


def _clock(moment: datetime) -> str:
    """10:30:05.123."""
    return _to_the_millisecond(moment.astimezone(_zone.get()))


def _clock_with_day(moment: datetime) -> str:
    """14 Nov, 10:30:05.123 CET."""
    local = moment.astimezone(_zone.get())
    return f"{local.day} {local:%b}, {_to_the_millisecond(local)} {_zone_name(local)}"


def _to_the_millisecond(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1_000:03}"


def _zone_name(moment: datetime) -> str:
    """CET, or UTC+04 for zones without an abbreviation."""
    name = moment.tzname() or ""
    return name if name.isalpha() else f"UTC{name}"


def _moment(value: Any) -> datetime | None:
    if value is None or value == "":
        return None
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_LIVE = ("ago", "until")
_STYLES: Mapping[str, Callable[[datetime], str]] = {
    "ago": ago,
    "until": lambda moment: durations.until(moment.isoformat()),
    "age": lambda moment: durations.age(moment.isoformat()),
    "day": date,
    "minute": lambda moment: date(moment, "minute"),
    "clock": _clock,
    "moment": _clock_with_day,
}
