"""Proofs for readers: checkpoints, inclusion, consistency, and a resident's own entries. Reads only."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session

from dataspace.audit import store
from dataspace.audit.bodies import BodyKey
from dataspace.audit.errors import EntryErasedError, EntryUnknownError, LogUnavailableError
from dataspace.audit.tree import Nodes, Range, consistency_ranges, inclusion_ranges, range_nodes, tile_of
from dataspace.kernel.db import Database
from dataspace.kernel.encoding import Json, b64, unb64
from dataspace.kernel.merkle import ProofInvalidError


class Prover:
    """Proofs out of the stored tiles: O(log n) hashes and a few tiles each, batches share what they load."""

    def __init__(self, database: Database, body_key: BodyKey) -> None:
        self._database = database
        self._body_key = body_key

    def checkpoint(self, *, cosignatures: int = 0) -> str:
        """Newest checkpoint with at least so many cosignatures (all stored ones are in the text)."""
        with self._database.read() as session:
            return _checkpoint_text(session, _newest(session, cosignatures))

    def size(self, *, cosignatures: int = 0) -> int:
        """Size of what :meth:`checkpoint` answers."""
        with self._database.read() as session:
            return _newest(session, cosignatures)

    def bundle(self, leaf_hashes: Sequence[str], size: int) -> list[dict[str, Json]]:
        """Proof bundles (docs/formats.md) of entries in the order asked for, under the checkpoint of ``size``.

        Raises :class:`EntryUnknownError` or :class:`EntryErasedError`.
        """
        wanted = [unb64(item, size=32) for item in leaf_hashes]
        with self._database.read() as session:
            found = store.locate(session, wanted, size)
            if any(item not in found for item in wanted):
                raise EntryUnknownError("an entry is not in the log of this size")
            return self._bundles(session, [found[item] for item in wanted], size)

    def entries_of(
        self, subject: str, after_number: int, limit: int, *, size: int | None = None
    ) -> list[dict[str, Json]]:
        """Bundles of a resident's entries numbered above ``after_number``, in order, under one checkpoint."""
        with self._database.read() as session:
            size = _newest(session, 0) if size is None else size
            entries = store.chain_entries(session, subject, after_number, limit, size)
            return self._bundles(session, entries, size)

    def consistency(self, from_size: int, to_size: int) -> list[str]:
        """Hashes (b64) proving that the log of ``from_size`` begins the log of ``to_size``; none from size 0."""
        with self._database.read() as session:
            return [b64(item) for item in consistency(session, from_size, to_size)]

    def _bundles(self, session: Session, entries: Sequence[store.Located], size: int) -> list[dict[str, Json]]:
        text = _checkpoint_text(session, size)
        proofs = _prove(session, [inclusion_ranges(entry.entry_index, size) for entry in entries])
        return [self._bundle(entry, proof, size, text) for entry, proof in zip(entries, proofs, strict=True)]

    def _bundle(self, entry: store.Located, proof: list[bytes], size: int, text: str) -> dict[str, Json]:
        if entry.sealed is None:
            raise EntryErasedError("the body of the entry was erased", index=entry.entry_index)
        salt, body = self._body_key.open(entry.leaf_hash, entry.sealed)
        return {
            "index": entry.entry_index,
            "salt": b64(salt),
            "body": b64(body),
            "size": size,
            "inclusion": [b64(item) for item in proof],
            "checkpoint": text,
        }


def consistency(session: Session, from_size: int, to_size: int) -> list[bytes]:
    """RFC 6962 section 2.1.2 proof between two sizes of the log; empty from size 0."""
    if not 0 <= from_size <= to_size <= _newest(session, 0):
        raise ProofInvalidError("the log never had these sizes in this order")
    return _prove(session, [consistency_ranges(from_size, to_size)])[0] if from_size else []


def _newest(session: Session, cosignatures: int) -> int:
    size = store.newest_checkpoint(session, cosignatures)
    if size is None:
        raise LogUnavailableError("the log has no such checkpoint yet")
    return size


def _checkpoint_text(session: Session, size: int) -> str:
    note = store.checkpoint_note(session, size)
    if note is None:
        raise EntryUnknownError("the log never signed a checkpoint of this size")
    return note + "".join(line for _witness, line in store.cosignature_lines(session, size))


def _prove(session: Session, wanted: Sequence[Sequence[Range]]) -> list[list[bytes]]:
    tiles = {tile_of(node) for ranges in wanted for leaves in ranges for node in range_nodes(leaves)}
    nodes = Nodes(store.load_tiles(session, tiles))
    return [[nodes.range_hash(leaves) for leaves in ranges] for ranges in wanted]
