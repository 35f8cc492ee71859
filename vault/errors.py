"""Refusals of the vault. Every failure to open is the same opaque error, whatever went wrong inside."""

from dataspace.kernel.errors import DataspaceError


class CannotOpenError(DataspaceError):
    """A sealed object did not open: wrong key, wrong context, or changed bytes; it does not say which."""

    code = "cannot_open"

    def __init__(self) -> None:
        super().__init__("cannot be opened")


class KeyStatementError(DataspaceError):
    """A key statement that does not continue the pinned chain."""

    code = "key_statement_invalid"


class RecordInvalidError(DataspaceError):
    """A record opened, but its source's signed values differ from those it was opened with."""

    code = "record_invalid"


class RecoveryWordsError(DataspaceError):
    """Not a valid list of recovery words."""

    code = "recovery_words_invalid"
