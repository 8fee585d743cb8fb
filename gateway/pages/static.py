"""Static files: kept in memory, compressed once, cached by browsers until they change."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import weights
from gateway.pages import templating

IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"
"""For addresses without a release or with another one: the browser revalidates, and an unchanged file costs a 304."""
_COMMENTS = re.compile(rb"^[ \t]*(?://[^\n]*|/\*.*?\*/)[ \t]*\n", re.DOTALL | re.MULTILINE)
"""Comments on lines of their own."""
_RELEASE = re.compile(r"([0-9a-f]{12})/")
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


class Static:
    """`/static/…`, and `/static/<release>/…`, which is what pages name."""

    def __init__(self) -> None:
        files = (path for path in templating.STATIC.rglob("*") if path.is_file())
        self._files = {path.relative_to(templating.STATIC).as_posix(): _read(path) for path in files}
        self._release = templating.release()
        self.route = Route("/static/{path:path}", self.serve)

    async def serve(self, request: Request) -> Response:
        """Return a file, or 304 if the browser has it."""
        path = request.path_params["path"]
        named = _RELEASE.match(path)
        file = self._files.get(path[named.end() :] if named else path)
        if file is None:
            raise HTTPException(404)
        is_ours = named is not None and named[1] == self._release
        headers = {
            "Cache-Control": IMMUTABLE if is_ours else REVALIDATE,
            "ETag": file.tag,
            "Vary": "Accept-Encoding",
        }
        if file.tag in [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]:
            return Response(status_code=304, headers=headers)
        if weights.read(request.headers.getlist("accept-encoding")).get("gzip", 0.0) > 0:
            headers["Content-Encoding"] = "gzip"
            return Response(file.compressed, media_type=file.media_type, headers=headers)
        return Response(file.body, media_type=file.media_type, headers=headers)


def _read(path: Path) -> File:
    body = path.read_bytes()
    if path.suffix == ".js":
        # A fifth of what is sent otherwise; the types document the module.
        body = _COMMENTS.sub(b"", body)
    return File(
        body=body,
        compressed=gzip.compress(body, mtime=0),
        media_type=_TYPES[path.suffix],
        # Weak: the same for the compressed and the plain bytes.
        tag=f'W/"{templating.version_of(body)}"',
    )
