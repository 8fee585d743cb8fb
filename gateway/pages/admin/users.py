"""Accounts: roles, sessions, disabling and enabling."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors, ids
from gateway import inputs, views
from gateway.pages import lists, page_request
from gateway.pages.admin import job_query, people, user_questions
from gateway.pages.admin.admin_page import AdminPage
from gateway.plurals import counted
from repruv.auth.v1 import admin_service_pb2

PATH = "/admin/users"
EVENTS = 20


class Users(AdminPage):
    """`/admin/users` and `/admin/users/{user_id}`."""

    def routes(self) -> list[Route]:
        admin = self._container.admin
        actions = {
            "role": self.set_role,
            "disable": self._action(admin.disable_user, "account_disabled", ends_sessions=True),
            "enable": self._action(admin.enable_user, "account_enabled"),
            "sign-out": self.sign_out,
            "revoke-token": self.revoke_token,
            "password-reset": self._action(admin.send_password_reset, "account_reset_sent"),
            "remove-second-factor": self._action(
                admin.remove_second_factor, "account_factor_removed", ends_sessions=True
            ),
            "delete": self.delete,
            "keep": self._action(admin.cancel_user_deletion, "account_stays"),
        }
        flash_codes = {
            "own_account": "own_account",
            "admin_account": "admin_account",
            "deletion_pending": "deletion_pending",
            "session_not_found": "session_unknown",
            "api_token_not_found": "token_unknown",
        }
        return [
            Route(f"{PATH}/confirm/sign-out-all-users", self.confirm_sign_out_all_users),
            *self.page_routes(PATH, self.show_all, {"sign-out-all-users": self.sign_out_all_users}),
            Route(f"{PATH}/{{user_id}}/confirm/{{name}}", self.confirm),
            *self.page_routes(f"{PATH}/{{user_id}}", self.show, actions, flash_codes),
        ]

    async def show_all(self, request: Request) -> Response:
        """Show accounts, newest first unless the address says otherwise."""
        visitor = await self.begin(request)
        filters = {
            "email": inputs.plain(request.query_params.get("email", ""))[:254],
            "deleting": "yes" if request.query_params.get("deleting") == "yes" else "",
            "order": lists.order_of(request),
        }
        token = request.query_params.get("page_token", "")
        try:
            page = await self._container.admin.list_users(
                visitor.identity,
                email_prefix=filters["email"],
                page_size=lists.PAGE,
                page_token=token,
                deleting_only=bool(filters["deleting"]),
                oldest_first=bool(filters["order"]),
                max_count=lists.MAX_COUNT,
            )
        except errors.InvalidArgument:
            return self.redirect(lists.address(PATH, filters))
        context = {
            "users": [views.user(account) for account in page.users],
            "email": filters["email"],
            "deleting": filters["deleting"],
            **lists.context(partial(lists.address, PATH, filters), page, order=filters["order"], page_token=token),
        }
        return visitor.show("admin/users", PATH, context)

    async def show(self, request: Request) -> Response:
        """Show an account, its active sessions, its API tokens and its latest security events."""
        visitor = await self.begin(request)
        user_id = _user_id(request)
        response = await self._container.admin.get_user(visitor.identity, user_id=user_id)
        rpc_request = admin_service_pb2.ListSecurityEventsRequest(user_id=user_id, page_size=EVENTS)
        events = await self._container.admin.list_security_events.send(visitor.identity, rpc_request)
        context = {
            "account": views.user(response.user),
            "sessions": [
                views.session(auth_session, current_id=visitor.session.session_id) for auth_session in response.sessions
            ],
            "api_tokens": [views.api_token(api_token) for api_token in response.api_tokens],
            "events": [views.security_event(event) for event in events.events],
            "addresses": await people.addresses(
                self._container, (event.actor_id for event in events.events), identity=visitor.identity
            ),
            "is_own": user_id == visitor.session.user_id,
        }
        return visitor.show("admin/user", f"{PATH}/{user_id}", context)

    async def confirm(self, request: Request) -> Response:
        """Ask before an account becomes an admin, is disabled or deleted: what will happen, in numbers."""
        visitor = await self.begin(request)
        user_id, name = _user_id(request), request.path_params["name"]
        response = await self._container.admin.get_user(visitor.identity, user_id=user_id)
        unfinished = 0
        if name == "disable":
            query = job_query.JobQuery(state="active").message(user_id)
            unfinished = (await self._container.engine.count_jobs(visitor.identity, filter=query)).count
        context = {
            "back": f"{PATH}/{user_id}",
            "action": f"{PATH}/{user_id}/{name.removesuffix('-now')}",
            **user_questions.question(name, response.user, session_count=len(response.sessions), unfinished=unfinished),
        }
        return visitor.show("admin/confirm", f"{PATH}/{user_id}/confirm/{name}", context)

    async def confirm_sign_out_all_users(self, request: Request) -> Response:
        """Ask before the sessions of all users end: how many, of how many users."""
        visitor = await self.begin(request)
        count = await self._container.admin.count_sessions(visitor.identity)
        others = max(0, count.session_count - 1)
        number = f"{'More than ' if count.has_more else ''}{counted(others, 'session')}"
        context = {
            "question": "Sign out all users?",
            "facts": [
                f"{number} of {counted(count.user_count, 'user')} end{'s' if others == 1 else ''} now, on every device.",
                "Everyone has to sign in again. All API tokens end too. Jobs continue.",
                "Your own session here stays.",
            ],
            "button": f"End {counted(others, 'session')}",
            "action": f"{PATH}/sign-out-all-users",
            "fields": {"confirmed": "yes"},
            "back": PATH,
        }
        return visitor.show("admin/confirm", f"{PATH}/confirm/sign-out-all-users", context)

    async def set_role(self, request: Request) -> Response:
        """Change the role; all sessions of the account end."""
        session, fields = await self.read_form(request, "role")
        user_id = _user_id(request)
        if fields["role"] not in views.ASSIGNABLE_ROLES:
            raise errors.InvalidArgument("There is no such role.", field="role")
        await self._container.admin.set_user_role(
            session.identity, user_id=user_id, role=views.ASSIGNABLE_ROLES[fields["role"]]
        )
        return self._redirect(user_id, "account_changed", ends_sessions=True)

    async def delete(self, request: Request) -> Response:
        """Begin the deletion of the account, or erase it at once."""
        session, fields = await self.read_form(request, "immediately")
        user_id = _user_id(request)
        await self._container.admin.request_user_deletion(
            session.identity, user_id=user_id, immediately=fields["immediately"] == "yes"
        )
        return self._redirect(user_id, "account_deleting", ends_sessions=True)

    async def sign_out(self, request: Request) -> Response:
        """End one session of the account, or all if none is named."""
        session, fields = await self.read_form(request, "session_id")
        user_id = _user_id(request)
        session_id = str(ids.parse(fields["session_id"], "session_id")) if fields["session_id"] else ""
        await self._container.admin.revoke_user_sessions(session.identity, user_id=user_id, session_id=session_id)
        self._container.sessions.forget_revoked(user_id, {session_id} if session_id else None)
        return self._redirect(user_id, "account_signed_out")

    async def revoke_token(self, request: Request) -> Response:
        """End an API token of the account."""
        session, fields = await self.read_form(request, "token_id")
        user_id, token_id = _user_id(request), str(ids.parse(fields["token_id"], "token_id"))
        await self._container.admin.revoke_user_api_token(session.identity, user_id=user_id, token_id=token_id)
        self._container.sessions.forget_revoked(user_id, {token_id})
        return self._redirect(user_id, "account_token_revoked")

    async def sign_out_all_users(self, request: Request) -> Response:
        """End all sessions except this one."""
        session, fields = await self.read_form(request, "confirmed")
        if fields["confirmed"] != "yes":
            return self.redirect(PATH, flash_code="not_confirmed")
        response = await self._container.admin.revoke_all_users_sessions(session.identity)
        self._container.sessions.forget_all()
        flash_code = "all_users_signed_out_partly" if response.has_more else "all_users_signed_out"
        return self.redirect(PATH, flash_code=flash_code)

    def _action(
        self, call: Callable[..., Awaitable[Any]], flash_code: str, *, ends_sessions: bool = False
    ) -> page_request.Handler:
        """Return the handler of a form without fields, which makes a call about the account."""

        async def act(request: Request) -> Response:
            session, _ = await self.read_form(request)
            user_id = _user_id(request)
            await call(session.identity, user_id=user_id)
            return self._redirect(user_id, flash_code, ends_sessions=ends_sessions)

        return act

    def _redirect(self, user_id: str, flash_code: str, *, ends_sessions: bool = False) -> Response:
        if ends_sessions:
            self._container.sessions.forget_revoked(user_id, None)
        return self.redirect(f"{PATH}/{user_id}", flash_code=flash_code)


def _user_id(request: Request) -> str:
    return inputs.parse_id(request.path_params["user_id"], "user")
