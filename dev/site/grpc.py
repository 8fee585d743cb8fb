"""The gRPC reference: one page for each service, from the comments of the protos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

from protos import descriptors

_OURS = ".repruv."
_REPEATED = FieldDescriptorProto.LABEL_REPEATED


def pages() -> dict[str, str]:
    """Return the text of each page by its path."""
    files: dict[str, list[FileDescriptorProto]] = defaultdict(list)
    for file in descriptors.files():
        files[file.package].append(file)
    return {
        path_of(package.split(".")[1]): "\n".join(_page(package, protos)) + "\n" for package, protos in files.items()
    }


def path_of(service: str) -> str:
    """Return the path of the page of a service."""
    return f"reference/grpc/{service}.md"


def link(full_name: str) -> str:
    """Return a link to a message or an enum from another page of this folder."""
    parts = full_name.split(".")
    return f"[{'.'.join(parts[3:])}]({parts[1]}.md#{full_name})"


def _page(package: str, files: list[FileDescriptorProto]) -> Iterator[str]:
    yield f"# {package}\n"
    yield "Who may call each rpc: [calling our services](../../docs/calling-us.md#who-may-call-what).\n"
    for file in files:
        for service in file.service:
            yield from _service(f"{package}.{service.name}", service)
    for file in files:
        for message in file.message_type:
            yield from _message(f"{package}.{message.name}", message)
        for enum in file.enum_type:
            yield from _enum(f"{package}.{enum.name}", enum)


def _service(name: str, service: ServiceDescriptorProto) -> Iterator[str]:
    yield f"## {service.name} {{#{name}}}\n\n{_comment(name)}\n"
    for rpc in service.method:
        answer = f"stream of {_type(rpc.output_type)}" if rpc.server_streaming else _type(rpc.output_type)
        yield f"### {rpc.name} {{#{name}.{rpc.name}}}\n"
        yield f"{_type(rpc.input_type)} → {answer}\n\n{_comment(f'{name}.{rpc.name}')}\n"


def _message(name: str, message: DescriptorProto) -> Iterator[str]:
    yield f"## {'.'.join(name.split('.')[3:])} {{#{name}}}\n\n{_comment(name)}\n"
    entries = {f".{name}.{nested.name}": nested for nested in message.nested_type if nested.options.map_entry}
    if message.field:
        yield "| field | type | |\n|---|---|---|"
        for field in message.field:
            entry = entries.get(field.type_name)
            kind = f"map of {_kind(entry.field[1])}" if entry else _kind(field)
            if not entry and field.label == _REPEATED:
                kind = f"list of {kind}"
            yield f"| `{field.name}` | {kind} | {_cell(f'{name}.{field.name}')} |"
        yield ""
    for nested in message.nested_type:
        if not nested.options.map_entry:
            yield from _message(f"{name}.{nested.name}", nested)
    for enum in message.enum_type:
        yield from _enum(f"{name}.{enum.name}", enum)


def _enum(name: str, enum: EnumDescriptorProto) -> Iterator[str]:
    yield f"## {'.'.join(name.split('.')[3:])} {{#{name}}}\n\n{_comment(name)}\n\n| value | |\n|---|---|"
    for value in enum.value:
        yield f"| `{value.name}` | {_cell(f'{name}.{value.name}')} |"
    yield ""


def _kind(field: FieldDescriptorProto) -> str:
    if field.type_name:
        return _type(field.type_name)
    return f"`{FieldDescriptorProto.Type.Name(field.type).removeprefix('TYPE_').lower()}`"


def _type(name: str) -> str:
    return link(name[1:]) if name.startswith(_OURS) else f"`{name.rpartition('.')[2]}`"


def _comment(name: str) -> str:
    return escaped(descriptors.comments().get(name, ""))


def _cell(name: str) -> str:
    return _comment(name).replace("|", r"\|").replace("\n\n", " ")


def escaped(text: str) -> str:
    """Keep `<…>` from being read as HTML, outside of code."""
    return "".join(part if odd else part.replace("<", "&lt;") for odd, part in _by_code(text))


def _by_code(text: str) -> Iterator[tuple[bool, str]]:
    for number, part in enumerate(text.split("`")):
        yield bool(number % 2), f"`{part}`" if number % 2 else part
