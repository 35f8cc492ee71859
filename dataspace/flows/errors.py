"""Refusals of the flows."""

from dataspace.kernel.errors import DataspaceError


class RequestRefusedError(DataspaceError):
    """What was asked does not fit what is stored."""

    code = "request_refused"


class DeliveryRefusedError(DataspaceError):
    """A delivery that cannot be taken as a whole."""

    code = "delivery_refused"


class TooLateError(DataspaceError):
    """The state has moved on."""

    code = "conflict"
    status = 409


class BusyError(DataspaceError):
    """Nothing is wrong; there is too much to do at this moment."""

    code = "busy"
    status = 503
