"""Form tokens: every form carries one that only our own pages can contain, for this session or this visit.

They complement the check of the origin of a request (`middleware.SameOrigin`): either would suffice alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from chassis import errors

FIELD = "form_token"
CODE = "form_expired"
_PURPOSE = b"repruv gateway: form tokens"


class FormTokens:
    """Makes and checks form tokens; all replicas have the same key, which is derived from the gateway's identity key."""

    def __init__(self, identity_key: str) -> None:
        seed = base64.urlsafe_b64decode(identity_key + "=" * (-len(identity_key) % 4))
        self._key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(seed)

    def of_session(self, session_id: str) -> str:
        return self._token("session", session_id)

    def of_visit(self, visit: str) -> str:
        """Return the token of the forms of a browser that is not signed in."""
        return self._token("visit", visit)

    def require(self, expected: str, token: str) -> None:
        """Raise `PermissionDenied` `form_expired` unless the token that was sent is the one that is expected."""
        if not hmac.compare_digest(expected.encode(), token.encode("utf-8", "replace")):
            raise errors.PermissionDenied(
                "This form has expired. Nothing was changed. Send it again.",
                code=CODE,
            )

    def _token(self, kind: str, bound_to: str) -> str:
        digest = hmac.new(self._key, f"{kind}\0{bound_to}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
