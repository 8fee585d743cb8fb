"""Static files."""

from __future__ import annotations

import gzip
import re

import httpx
import pytest
from starlette.applications import Starlette

from gateway.pages import static, templating

SCRIPT_BYTES = 20_000
"""Compressed scripts of the page that loads most of them."""


@pytest.fixture
async def client() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(Starlette(routes=[static.Static().route]))
    return httpx.AsyncClient(transport=transport, base_url="http://gateway", headers={"Accept-Encoding": "identity"})


async def test_files_of_this_release_are_cached_forever_including_imports(
    client: httpx.AsyncClient,
) -> None:
    page = httpx.URL(f"http://gateway{templating.asset('pages.js')}")
    for address in (templating.asset("base.css"), page.join("./repruv/http.js")):
        answer = await client.get(address)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    answer = await client.get(templating.asset("base.css"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert answer.content == (templating.STATIC / "base.css").read_bytes()


@pytest.mark.parametrize("address", ["/static/repruv.js", "/static/000000000000/repruv.js"])
async def test_files_of_no_or_another_release_are_revalidated(client: httpx.AsyncClient, address: str) -> None:
    answer = await client.get(address)
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    again = await client.get(address, headers={"If-None-Match": f'"other", {answer.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == answer.headers["etag"]
    assert (await client.get(address, headers={"If-None-Match": '"other"'})).status_code == 200


async def test_files_are_compressed_if_accepted(client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/static/repruv/stream.js", headers={"Accept-Encoding": "br, gzip"}) as answer:
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert (answer.headers["content-encoding"], answer.headers["vary"]) == ("gzip", "Accept-Encoding")
    sent = gzip.decompress(raw).decode()
    source = (templating.STATIC / "repruv/stream.js").read_text()
    assert [line for line in source.splitlines() if line in sent.splitlines()] == sent.splitlines()
    assert "export function openStream(" in sent


@pytest.mark.parametrize("accepted", ["", "br", "gzip;q=0, br", "GZIP; q=0.000"])
async def test_files_are_not_compressed_otherwise(client: httpx.AsyncClient, accepted: str) -> None:
    answer = await client.get("/static/repruv/stream.js", headers={"Accept-Encoding": accepted})
    assert "content-encoding" not in answer.headers
    assert "export function openStream(" in answer.text


async def test_scripts_of_a_page_are_within_their_budget_without_comments(client: httpx.AsyncClient) -> None:
    size = 0
    for path in (*templating.STATIC.glob("*.js"), *templating.STATIC.glob("repruv/*.js")):
        name = path.relative_to(templating.STATIC)
        script = (await client.get(f"/static/{name}")).text
        assert not [line for line in script.splitlines() if line.strip().startswith(("//", "/*", "* "))], name
        if path.name not in {"repruv-react.js", "passkeys.js"}:
            size += len(gzip.compress(script.encode()))
    assert size <= SCRIPT_BYTES


@pytest.mark.parametrize(
    "path",
    [
        "nothing.js",
        "",
        "../templating.py",
        "%2e%2e/templating.py",
        "..%2ftemplating.py",
        "repruv",
        "000000000000/nothing.js",
    ],
)
async def test_other_paths_are_not_found(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(f"/static/{path}")).status_code == 404


async def test_types_of_the_browser_module_are_text(client: httpx.AsyncClient) -> None:
    assert (await client.get("/static/repruv.d.ts")).headers["content-type"].startswith("text/plain")


def test_every_class_of_the_styles_is_used() -> None:
    """A class is used as a word, or its beginning in an attribute that a template completes: `pill--{{ status }}`."""
    sources = [*templating.STATIC.rglob("*.js"), *templating.TEMPLATES.rglob("*.html")]
    sources += templating.TEMPLATES.parent.rglob("*.py")
    text = "\n".join(path.read_text() for path in sources)
    words = set(re.findall(r"[\w-]+", text))
    attributes = "\n".join(re.findall(r'class="[^"\n]*"', text))
    beginnings = set(re.findall(r"([\w-]+-)(?:\{\{|' ~)", attributes))
    styles = "\n".join(path.read_text() for path in templating.STATIC.glob("*.css"))
    selectors = "\n".join(re.findall(r"([^{}]+)\{", re.sub(r"/\*.*?\*/", "", styles, flags=re.DOTALL)))
    classes = set(re.findall(r"\.([a-z][\w-]*)", selectors))
    assert {name for name in classes - words if name[: name.rfind("-") + 1] not in beginnings} == set()
