"""The standard that all parts share: collections with their schemas, and purposes."""

from dataspace.standard.errors import CollectionUnknownError, PurposeUnknownError, SchemaInvalidError
from dataspace.standard.purposes import Purpose, purpose, purposes
from dataspace.standard.schemas import Collection, Field, collection, collections, schema_id, validate

__all__ = [
    "Collection",
    "CollectionUnknownError",
    "Field",
    "Purpose",
    "PurposeUnknownError",
    "SchemaInvalidError",
    "collection",
    "collections",
    "purpose",
    "purposes",
    "schema_id",
    "validate",
]
