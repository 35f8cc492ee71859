"""Refusals of identity and access."""

from dataspace.kernel.errors import DataspaceError


class UnauthenticatedError(DataspaceError):
    """No token, or one that is not valid now."""

    code = "unauthenticated"
    status = 401


class ForbiddenError(DataspaceError):
    """Authenticated, but this role may not do this."""

    code = "forbidden"
    status = 403


class AssertionRefusedError(DataspaceError):
    """A stale, replayed or otherwise unacceptable assertion."""

    code = "assertion_refused"
    status = 401


class UnknownError(DataspaceError):
    """Nothing of this name that the caller may know of."""

    code = "not_found"
    status = 404


class ConflictError(DataspaceError):
    """The same name is already taken by something else."""

    code = "conflict"
    status = 409
