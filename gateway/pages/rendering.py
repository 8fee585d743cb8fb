"""Renders templates."""

from __future__ import annotations

import functools
from typing import Any

import jinja2
from starlette.responses import HTMLResponse

from gateway.pages import moments, templating
from gateway.pages.reader import Reader

Context = dict[str, Any]


@functools.cache
def _templates() -> jinja2.Environment:
    return templating.environment()


def answer(reader: Reader, template: str, context: Context, status: int = 200) -> HTMLResponse:
    """Render a template in the reader's theme and time zone. Every name it uses must be in `context`."""
    with moments.read_in(reader.zone):
        page = _templates().get_template(template).render({"theme": reader.theme, **context})
    return HTMLResponse(page, status)
