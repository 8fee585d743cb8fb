"""The reference of the NATS messages, from docs/asyncapi.json."""

from __future__ import annotations

import json

from dev.asyncapi import TARGET
from dev.site import grpc


def pages() -> dict[str, str]:
    """Return the text of the page by its path."""
    document = json.loads(TARGET.read_text())
    lines = [
        f"# Events\n\n{document['info']['description']}\n",
        "[asyncapi.json](../docs/asyncapi.json) is the document.\n",
    ]
    for name, channel in sorted(document["channels"].items()):
        reference = channel["messages"]["Message"]["$ref"].rpartition("/")[2]
        full_name = document["components"]["messages"][reference]["x-protobuf-message"]
        delivery = f"stream {channel['x-stream']}, at least once" if "x-stream" in channel else "broadcast, may be lost"
        message = grpc.link(full_name).replace("](", "](grpc/")
        lines += [f"## {name}\n", f"`{channel['address']}` · {delivery} · {message}\n"]
        lines += [f"{grpc.escaped(channel['description'])}\n"]
    return {"reference/events.md": "\n".join(lines)}
