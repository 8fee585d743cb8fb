"""One search for everything that an operator may have: ids, addresses, error texts, names."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import inputs, search
from gateway.pages.admin.admin_page import AdminPage

PATH = "/admin/search"
_TITLES = {
    "user": "Users",
    "error": "Errors",
    "job": "Jobs",
    "kind": "Job types",
    "schedule": "Schedules",
    "worker": "Workers",
}


class Search(AdminPage):
    """`/admin/search`."""

    def routes(self) -> list[Route]:
        return [Route(PATH, self.show)]

    async def show(self, request: Request) -> Response:
        """Go to the only hit, or show all."""
        visitor = await self.begin(request)
        text = inputs.plain(request.query_params.get("q", ""))[: search.MAX_TEXT]
        result = await search.search(self._container, text, identity=visitor.identity)
        hits = result["hits"]
        jobs = [hit for hit in hits if hit["type"] == "job"]
        # The group of a single failed job leads to nothing else.
        targets = [hit for hit in hits if hit["type"] != "error"] if len(jobs) == 1 else hits
        if len(targets) == 1 and result["is_complete"] and not result["request_at"]:
            return self.redirect(targets[0]["path"])
        groups = [(title, [hit for hit in hits if hit["type"] == name]) for name, title in _TITLES.items()]
        context = {"text": text, "result": result, "groups": [(title, group) for title, group in groups if group]}
        return visitor.show("admin/search", PATH, context)
