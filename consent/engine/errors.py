"""Refusals of the engines that are met when the service starts. A decision never raises: it denies."""

from dataspace.kernel.errors import DataspaceError


class EngineError(DataspaceError):
    """The engine cannot decide."""

    code = "engine_failed"
    status = 503


class EngineUnknownError(EngineError):
    """The setting names an engine that does not exist."""

    code = "engine_unknown"
    status = 500


class EngineSelfTestError(EngineError):
    """The engine answers a known question wrongly, so that none of its answers may be used."""

    code = "engine_self_test_failed"


class PolicyUploadError(EngineError):
    """The OPA server does not hold exactly the rules that were sent."""

    code = "policy_upload_failed"
