"""The wire format of streams."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.stream import frames


def test_a_frame_ends_with_an_empty_line() -> None:
    assert (
        frames.encode("job", {"a": 1}, sequence=7, retry_ms=1500)
        == b'retry: 1500\nid: 7\nevent: job\ndata: {"a":1}\n\n'
    )
    assert frames.PING == b"event: ping\ndata: {}\n\n"


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\0b", "job\n\nevent: bye"])
def test_a_name_cannot_forge_a_frame(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        frames.encode(name, {})


@given(st.text() | st.sampled_from(["\n\nevent: bye\ndata: {}\n\n", "\r\r", "\u2028", "\x85"]))
def test_no_text_can_forge_a_frame(text: str) -> None:
    frame = frames.encode("job", {"message": text})
    assert frame.count(b"\n") == 3
    assert b"\r" not in frame
    data = frame.decode().split("\n")[1].removeprefix("data: ")
    assert json.loads(data) == {"message": text}


def test_half_a_surrogate_does_not_end_a_stream() -> None:
    assert b"?" in frames.encode("job", {"message": "\ud800"})
