"""Texts and ids that clients send."""

from __future__ import annotations

from chassis import errors, ids


def plain(text: str) -> str:
    """Return a text without what protobuf and PostgreSQL do not accept: surrogates and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "").strip()


def parse_id(text: str, resource: str) -> str:
    """Return the id of a resource. Raise `NotFound` for an invalid one, as services do for an unknown one."""
    try:
        return str(ids.parse(text, f"{resource}_id"))
    except errors.InvalidArgument as error:
        raise errors.NotFound(f"There is no such {resource}.", code=f"{resource}_not_found") from error
