"""What the page of an account asks before it changes the account."""

from __future__ import annotations

from chassis import errors
from gateway.plurals import counted
from repruv.auth.v1 import auth_pb2


def question(name: str, user: auth_pb2.User, *, session_count: int, unfinished: int) -> dict[str, object]:
    """Return the question before the change `name`, what will happen, and the button. Raises `NotFound` for another name.

    `unfinished` is the number of the user's unfinished jobs; only the question before "disable" needs it.
    """
    email, sessions = user.email, counted(session_count, "session")
    ended = f"{sessions} end{'s' if session_count == 1 else ''} now, and all API tokens."
    match name:
        case "role" if user.role == auth_pb2.USER_ROLE_ADMIN:
            facts = ["They can no longer see or change jobs and accounts of others.", ended]
            return _question(f"Revoke admin rights of {email}?", "Revoke admin", facts, fields={"role": "user"})
        case "role":
            facts = ["They can see and change every job and every account, yours included.", ended]
            fields = {"role": "admin"}
            return _question(f"Grant {email} admin rights?", "Grant admin", facts, fields=fields, is_destructive=False)
        case "sign-out":
            facts = [ended, "They can sign in again at once; to prevent that, disable the account."]
            return _question(f"Sign {email} out everywhere?", f"End {sessions}", facts, fields={"session_id": ""})
        case "disable":
            facts = [
                ended,
                "They cannot sign in, and their platforms are disconnected.",
                f"{counted(unfinished, 'unfinished job')} of theirs will still run.",
            ]
            return _question(f"Disable {email}?", "Disable account", facts)
        case "remove-second-factor":
            facts = [
                "Only do this after you have verified who they are: the password alone then opens the account.",
                ended,
                "They get an email. If another person knows the password, send a password reset too.",
            ]
            return _question(f"Turn off two-step verification of {email}?", "Turn off two-step verification", facts)
        case "delete":
            facts = [
                ended,
                "They get an email with a link that cancels it. After the grace period all of their data is erased.",
            ]
            return _question(f"Delete {email}?", "Delete account", facts, fields={"immediately": ""})
        case "delete-now":
            facts = [ended, "All of their data is erased at once; nothing can be restored."]
            return _question(f"Delete {email} now?", "Delete account now", facts, fields={"immediately": "yes"})
    raise errors.NotFound("There is nothing here.")


def _question(
    question: str, button: str, facts: list[str], *, fields: dict[str, str] | None = None, is_destructive: bool = True
) -> dict[str, object]:
    return {
        "question": question,
        "facts": facts,
        "button": button,
        "fields": fields or {},
        "is_destructive": is_destructive,
    }
