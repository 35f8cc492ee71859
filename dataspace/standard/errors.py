"""What can be wrong with a record or a name of the standard."""

from __future__ import annotations

from dataspace.kernel.errors import DataspaceError


class SchemaInvalidError(DataspaceError):
    """A record does not follow its collection's schema. Names the field (``extra["field"]``), never the value."""

    code = "schema_invalid"
    status = 422


class CollectionUnknownError(DataspaceError):
    """No collection of this name exists."""

    code = "collection_unknown"


class PurposeUnknownError(DataspaceError):
    """No purpose of this code exists."""

    code = "purpose_unknown"
