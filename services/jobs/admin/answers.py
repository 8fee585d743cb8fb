"""Output of a command: JSON or text."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from chassis import protobuf

Answer = TypeVar("Answer", bound=Message)


def output(args: argparse.Namespace, answer: Answer, show: Callable[[Answer], None]) -> int:
    """Print an answer as JSON with `--json`, else by `show`; return the exit code of success."""
    if args.json:
        print(to_json(answer, indent=2))
    else:
        show(answer)
    return 0


def plain(value: Struct) -> str:
    """Return a payload or result as JSON; whole numbers are written as integers."""
    return json.dumps(protobuf.from_struct(value), ensure_ascii=False)


def to_json(answer: Message, *, indent: int | None = None) -> str:
    """Return a message as JSON with the field names of the protos; unset fields are left out."""
    return json_format.MessageToJson(answer, preserving_proto_field_name=True, indent=indent, ensure_ascii=False)
