"""The errors that cross a process boundary: raised by operations, mapped to gRPC in `chassis.rpc`, to HTTP in the gateway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Protocol

_INVALID = "invalid_"
"""The beginning of the keys of details that name further invalid fields."""


class Error(Exception):
    """An error for the caller. `code` is stable and machine-readable, `field` names the invalid input."""

    status: ClassVar[str] = "INTERNAL"
    default_code: ClassVar[str] = "internal"

    def __init__(
        self, message: str = "", *, code: str = "", field: str = "", details: dict[str, str] | None = None
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.code = code or self.default_code
        self.field = field
        self.details = details or {}
        super().__init__(self.message)

    @property
    def mistakes(self) -> dict[str, str]:
        """The messages about all invalid inputs, by field; that of the error itself is the first."""
        others = {key.removeprefix(_INVALID): text for key, text in self.details.items() if key.startswith(_INVALID)}
        return ({self.field: self.message} if self.field else {}) | others


class InvalidArgument(Error):
    """The request is not valid."""

    status = "INVALID_ARGUMENT"
    default_code = "invalid_argument"


class Validation:
    """Checks several fields and raises one error that names all invalid ones."""

    def __init__(self) -> None:
        self._noted: list[InvalidArgument] = []

    @contextmanager
    def field(self) -> Iterator[None]:
        """Note the `InvalidArgument` of the block, which names a field. Its message must be ASCII, for gRPC's metadata."""
        try:
            yield
        except InvalidArgument as error:
            self._noted.append(error)

    def end(self) -> None:
        """Raise the first error that was noted, with the fields and messages of the others."""
        if not self._noted:
            return
        first, *others = self._noted
        for other in others:
            first.details |= {f"{_INVALID}{field}": message for field, message in other.mistakes.items()}
        raise first


class OutOfRange(Error):
    """The position is not one that exists."""

    status = "OUT_OF_RANGE"
    default_code = "out_of_range"


class Unauthenticated(Error):
    """There is no valid session."""

    status = "UNAUTHENTICATED"
    default_code = "unauthenticated"


class PermissionDenied(Error):
    """The caller may not do that."""

    status = "PERMISSION_DENIED"
    default_code = "permission_denied"


class NotFound(Error):
    """There is no such thing."""

    status = "NOT_FOUND"
    default_code = "not_found"


class AlreadyExists(Error):
    """There is one already."""

    status = "ALREADY_EXISTS"
    default_code = "already_exists"


class FailedPrecondition(Error):
    """The current state forbids that."""

    status = "FAILED_PRECONDITION"
    default_code = "failed_precondition"


class Aborted(Error):
    """A concurrent change won."""

    status = "ABORTED"
    default_code = "aborted"


class ResourceExhausted(Error):
    """Too much at once."""

    status = "RESOURCE_EXHAUSTED"
    default_code = "resource_exhausted"


class Unavailable(Error):
    """A part of the system isn't responding. Try again."""

    status = "UNAVAILABLE"
    default_code = "unavailable"


class DeadlineExceeded(Unavailable):
    """A part of the system did not answer in time; what was asked may still have happened."""

    status = "DEADLINE_EXCEEDED"
    default_code = "deadline_exceeded"


class Internal(Error):
    """Something went wrong on our side."""


_BY_STATUS: dict[str, type[Error]] = {
    kind.status: kind
    for kind in (
        InvalidArgument,
        OutOfRange,
        Unauthenticated,
        PermissionDenied,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        Aborted,
        ResourceExhausted,
        Unavailable,
        DeadlineExceeded,
        Internal,
    )
}


def by_status(status: str) -> type[Error]:
    """Return the error class of a gRPC status name; `Internal` for one that no operation raises."""
    return _BY_STATUS.get(status, Internal)


class ErrorPayload(Protocol):
    """An error inside the response of a call with many results; `status` is the name of a gRPC status."""

    status: str
    message: str
    code: str
    field: str

    @property
    def details(self) -> Mapping[str, str]: ...


def from_payload(payload: ErrorPayload) -> Error:
    """Return the error that a response contains."""
    kind = by_status(payload.status)
    return kind(payload.message, code=payload.code, field=payload.field, details=dict(payload.details))
