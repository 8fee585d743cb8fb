"""The weights that clients give to what they accept, in the headers Accept and Accept-Encoding."""

from __future__ import annotations

from collections.abc import Sequence


def read(lines: Sequence[str]) -> dict[str, float]:
    """Return the weight of each value in the lines of a header, in lower case (RFC 9110 12.4.2).

    A value without a weight, or with one that is no number, has 1.
    """
    weights: dict[str, float] = {}
    for part in ",".join(lines).lower().split(","):
        value, *parameters = (item.strip() for item in part.split(";"))
        assignments = ("".join(parameter.split()) for parameter in parameters)
        weight = next((item.removeprefix("q=") for item in assignments if item.startswith("q=")), "1")
        try:
            weights[value] = float(weight)
        except ValueError:
            weights[value] = 1.0
    return weights
