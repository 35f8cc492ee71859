"""Refusals of consent."""

from dataspace.kernel.errors import DataspaceError


class GrantInvalidError(DataspaceError):
    """A grant, refusal or withdrawal that does not hold together."""

    code = "grant_invalid"


class RequestInvalidError(DataspaceError):
    """A use request or product that does not hold together."""

    code = "request_invalid"
