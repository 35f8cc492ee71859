"""What residents and outsiders can check: a resident's own log entries, checkpoints, consistency, the register."""

from __future__ import annotations

import json
from typing import Any

from dataspace.flows.space import Space
from dataspace.identity import store as identity
from dataspace.kernel.encoding import b64
from dataspace.kernel.note import parse_checkpoint
from vault import store as vault

PAGE = 200


def own_log(space: Space, subject: str, after: int) -> dict[str, Any]:
    """A page of the resident's log entries, with proofs, and the broker's signed word about the newest it acted on."""
    head = space.broker.subject_head(subject)  # before the checkpoint, which then covers everything acted on
    text = space.prover.checkpoint(cosignatures=space.witness_quorum)
    size = parse_checkpoint(text).size
    entries = space.prover.entries_of(subject, after, PAGE, size=size)
    return {
        "checkpoint": text,
        "size": size,
        "entries": entries,
        "more": len(entries) == PAGE,
        "head": head,
    }


def own_records(space: Space, subject: str) -> dict[str, Any]:
    """The resident's sealed records and wraps; only the resident's client can open them."""
    with space.database.read() as session:
        resident = identity.resident_of(session, subject)
        records = vault.records_of(session, [resident.resident_id])[resident.resident_id]
        return {
            "statements": identity.statements_of(session, resident.resident_id),
            "wraps": json.loads(vault.wraps(session, resident.resident_id)),
            "sources": list(identity.sources(session).values()),
            "records": [
                {
                    "record_id": record.record_id,
                    "slot_id": record.context.slot_id,
                    "collection": record.context.collection,
                    "epoch_key": record.context.epoch_key,
                    "source_id": record.context.source_id,
                    "slot": b64(record.sealed_slot),
                    "sealed": b64(record.sealed),
                }
                for record in records
            ],
        }


def checkpoint(space: Space) -> dict[str, Any]:
    """The newest witnessed checkpoint."""
    return {"checkpoint": space.prover.checkpoint(cosignatures=space.witness_quorum)}


def consistency(space: Space, from_size: int, to_size: int) -> dict[str, Any]:
    return {"from": from_size, "to": to_size, "hashes": space.prover.consistency(from_size, to_size)}
