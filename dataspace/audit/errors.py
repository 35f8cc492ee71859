"""Refusals of the log."""

from __future__ import annotations

from dataspace.kernel.errors import DataspaceError


class LogUnavailableError(DataspaceError):
    """The log did not number an entry in time: whatever waits for it must not happen."""

    code = "log_unavailable"
    status = 503


class EntryInvalidError(DataspaceError):
    """The fields of a new entry collide with those the log itself sets, or are not allowed in signed JSON."""

    code = "log_entry_invalid"


class EntryUnknownError(DataspaceError):
    """No such entry, or not yet numbered, or beyond the asked size."""

    code = "log_entry_unknown"
    status = 404


class EntryErasedError(DataspaceError):
    """The body was erased when its legal period ended; its leaf hash still stands in the tree."""

    code = "log_entry_erased"
    status = 410


class LogCorruptError(DataspaceError):
    """Stored hashes or bodies are not what the log wrote. Stop, keep everything, and run ``verify_log``."""

    code = "log_corrupt"
    status = 500


class WitnessStateError(DataspaceError):
    """The witness lost its key or its memory: it must be retired, never restarted from nothing."""

    code = "witness_state_lost"
    status = 500


class WitnessUnavailableError(DataspaceError):
    """The witness did not answer, or did not answer with its own cosignature."""

    code = "witness_unavailable"
    status = 503


class WitnessRefusedError(DataspaceError):
    """The witness saw another history of this log. This is what witnesses are for: alarm, do not retry."""

    code = "witness_refused"
    status = 503
