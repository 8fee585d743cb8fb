"""How people speak whatever the niche: what opens and closes a comment, and what is said of any single aspect.

Aspect phrases follow "the <aspect>", but for the questions; the other phrases are sentences of their own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """The audience of one profile type; positive, negative and neutral banks end in _pos, _neg and _mid."""

    open_pos: tuple[str, ...]
    open_neg: tuple[str, ...]
    close_pos: tuple[str, ...]
    close_neg: tuple[str, ...]
    aspect_pos: tuple[str, ...]
    aspect_neg: tuple[str, ...]
    aspect_mid: tuple[str, ...]
    aspect_ask: tuple[str, ...]
    short_pos: tuple[str, ...]
