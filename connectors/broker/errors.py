"""Refusals of the broker."""

from dataspace.kernel.errors import DataspaceError


class BrokerRefusedError(DataspaceError):
    """The broker's own checks did not hold; nothing was opened."""

    code = "broker_refused"
    status = 403


class LogPositionError(DataspaceError):
    """The log shown does not continue the log this broker has seen."""

    code = "log_inconsistent"
    status = 403
