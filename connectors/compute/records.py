"""Which of the opened records count, and what of them a product may see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from connectors.compute.errors import ManifestRefusedError

Value = int | str | bool
Manifest = Mapping[str, Any]
"""The payload of a verified ``product`` (docs/formats.md)."""

_INPUT_MEMBERS = {"collection", "schema_id", "fields", "window"}


class OpenedRecord(Protocol):
    """An opened and verified record, as the vault's reader returns it."""

    @property
    def record_id(self) -> str: ...
    @property
    def source_id(self) -> str: ...
    @property
    def link_id(self) -> str: ...
    @property
    def sequence(self) -> int: ...
    @property
    def supersedes(self) -> str | None: ...
    @property
    def issued_at(self) -> int: ...
    @property
    def data(self) -> Mapping[str, Any]: ...


def inputs_of(manifest: Manifest) -> Sequence[Mapping[str, Any]]:
    """The manifest's inputs; a member that this node does not know is refused, never ignored."""
    inputs: Sequence[Mapping[str, Any]] = manifest["inputs"]
    for one in inputs:
        if not one.keys() <= _INPUT_MEMBERS:
            raise ManifestRefusedError("an input has a member that this node does not know")
    names = [one["collection"] for one in inputs]
    if len(set(names)) != len(names):
        raise ManifestRefusedError("a collection stands twice among the inputs")
    return inputs


def current(records: Iterable[OpenedRecord]) -> list[OpenedRecord]:
    """Records that none of the same link supersedes, newest first. Another source cannot supersede a record."""
    kept = list(records)
    gone = {(record.link_id, record.supersedes) for record in kept if record.supersedes is not None}
    alive = [record for record in kept if (record.link_id, record.record_id) not in gone]
    return sorted(alive, key=_age, reverse=True)


def _age(record: OpenedRecord) -> tuple[int, int, str, str]:
    return record.issued_at, record.sequence, record.source_id, record.record_id


def visible(record: OpenedRecord, fields: Sequence[str]) -> dict[str, Value]:
    """Only the manifest's fields. A field without a value is left out: it is missing, not zero."""
    values = {name: record.data.get(name) for name in fields}
    return {name: value for name, value in values.items() if isinstance(value, (int, str))}
