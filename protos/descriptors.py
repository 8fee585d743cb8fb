"""The protos with their comments: what the reference pages and the AsyncAPI document say about each message."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).parent
# Numbers of the fields that a path in the source information consists of (descriptor.proto).
_MESSAGES, _ENUMS, _SERVICES, _MEMBERS, _NESTED, _NESTED_ENUMS = 4, 5, 6, 2, 3, 4


@functools.cache
def files() -> tuple[FileDescriptorProto, ...]:
    """Return all protos, with their source information."""
    includes = Path(grpc_tools.__file__).parent / "_proto"
    names = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("repruv/**/*.proto"))
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "protos"
        options = ["--include_source_info", f"--descriptor_set_out={target}"]
        if protoc.main(["protoc", f"-I{ROOT}", f"-I{includes}", *options, *names]) != 0:
            raise SystemExit("protoc failed")
        return tuple(FileDescriptorSet.FromString(target.read_bytes()).file)


@functools.cache
def comments() -> Mapping[str, str]:
    """Return the comment of each service, rpc, message, field, enum and value by its full name, one line per paragraph."""
    return {name: text for file in files() for name, text in _of_file(file)}


def _of_file(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    at = {tuple(location.path): _text(location.leading_comments) for location in file.source_code_info.location}

    def members(name: str, path: tuple[int, ...], of: list[str]) -> Iterator[tuple[str, str]]:
        yield name, at.get(path, "")
        for number, member in enumerate(of):
            yield f"{name}.{member}", at.get((*path, _MEMBERS, number), "")

    def message(prefix: str, path: tuple[int, ...], of: DescriptorProto) -> Iterator[tuple[str, str]]:
        name = f"{prefix}.{of.name}"
        yield from members(name, path, [field.name for field in of.field])
        for number, nested in enumerate(of.nested_type):
            yield from message(name, (*path, _NESTED, number), nested)
        for number, enum in enumerate(of.enum_type):
            values = [value.name for value in enum.value]
            yield from members(f"{name}.{enum.name}", (*path, _NESTED_ENUMS, number), values)

    for number, each in enumerate(file.message_type):
        yield from message(file.package, (_MESSAGES, number), each)
    for number, enum in enumerate(file.enum_type):
        yield from members(f"{file.package}.{enum.name}", (_ENUMS, number), [value.name for value in enum.value])
    for number, service in enumerate(file.service):
        yield from members(f"{file.package}.{service.name}", (_SERVICES, number), [rpc.name for rpc in service.method])


def _text(comment: str) -> str:
    paragraphs = comment.strip().split("\n\n")
    return "\n\n".join(" ".join(line.strip() for line in each.splitlines()) for each in paragraphs)
