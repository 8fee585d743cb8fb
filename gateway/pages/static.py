"""The files that pages load: kept in memory, compressed once, cached by browsers as long as they are the same."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import templating

FOR_EVER = "public, max-age=31536000, immutable"
# Modules import each other without a version, so their addresses stay; asking whether they are the same costs a 304.
ASK_AGAIN = "no-cache"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ts": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file as it is sent."""

    body: bytes
    compressed: bytes
    media_type: str
    tag: str
    version: str


class Static:
    """`/static/…`."""

    def __init__(self, directory: Path = templating.STATIC) -> None:
        self._files = {
            path.relative_to(directory).as_posix(): _read(path) for path in directory.rglob("*") if path.is_file()
        }
        self.route = Route("/static/{path:path}", self.serve)

    async def serve(self, request: Request) -> Response:
        """Send a file, or say that the browser has it."""
        file = self._files.get(request.path_params["path"])
        if file is None:
            raise HTTPException(404)
        is_versioned = request.query_params.get("v") == file.version
        headers = {
            "Cache-Control": FOR_EVER if is_versioned else ASK_AGAIN,
            "ETag": file.tag,
            "Vary": "Accept-Encoding",
        }
        if file.tag in [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(file.compressed, media_type=file.media_type, headers=headers)
        return Response(file.body, media_type=file.media_type, headers=headers)


def _read(path: Path) -> File:
    body = path.read_bytes()
    version = templating.version_of(body)
    return File(
        body=body,
        compressed=gzip.compress(body, mtime=0),
        media_type=_TYPES[path.suffix],
        # Weak: the same for the compressed and the plain bytes.
        tag=f'W/"{version}"',
        version=version,
    )
