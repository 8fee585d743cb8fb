"""Renders templates."""

from __future__ import annotations

import functools
from typing import Any

import jinja2
from starlette.responses import HTMLResponse

from gateway.pages import templating

Context = dict[str, Any]


@functools.cache
def _templates() -> jinja2.Environment:
    return templating.environment()


def answer(template: str, context: Context, status: int = 200) -> HTMLResponse:
    """Render a template. Every name it uses must be in `context`."""
    return HTMLResponse(_templates().get_template(template).render(context), status)
