"""Refusals of the compute node. None carries anything of the data: a code, and a sentence about the manifest."""

from __future__ import annotations

from dataspace.kernel.errors import DataspaceError


class ManifestRefusedError(DataspaceError):
    """The manifest asks for something that this node does not do."""

    code = "manifest_refused"


class ComputationRefusedError(DataspaceError):
    """The SELECT is not one of the shapes that can only speak of one person at a time."""

    code = "computation_refused"


class ComputationFailedError(DataspaceError):
    """The worker ended without rows. Why stays inside: error text can hold data."""

    code = "computation_failed"


class ComputationTimeoutError(ComputationFailedError):
    """The worker was killed when its time was over."""

    code = "computation_timeout"


class ReleaseStateError(DataspaceError):
    """A release that is unknown, or in another state than the call supposes."""

    code = "release_state"
