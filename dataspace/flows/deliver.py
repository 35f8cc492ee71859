"""A source's delivery: checked item by item, stored whole, answered the same way each time it is sent again."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from dataspace.audit.log import NewEntry
from dataspace.flows.errors import DeliveryRefusedError
from dataspace.flows.space import Space
from dataspace.identity import store as identity
from dataspace.kernel.encoding import canonical, digest, unb64
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.signed import Count, Digest, Id, Seconds, SignedContent, Verified, key_bytes, verified
from dataspace.standard.register import Source
from vault import store as vault
from vault.statements import KeyChain, follow
from vault.suite1 import AEAD_OVERHEAD, HPKE_OVERHEAD, KEY_BYTES

MAX_RECORD_BYTES = (1 << 20) + AEAD_OVERHEAD


class Delivery(SignedContent):
    """The signed cover of a batch; ``items`` is digest("delivery-items", canonical(items))."""

    typ: ClassVar[str] = "delivery"
    source_id: Id
    delivery_id: Id
    number: Count
    items: Digest
    issued_at: Seconds


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SealedRecord(_Strict):
    record_id: Id
    sealed: str


class DeliveryItem(_Strict):
    """The records of one link and collection in this batch; they share one slot."""

    link_id: Id
    collection: str
    epoch_key: Digest
    slot_id: Id
    slot: str
    records: Annotated[list[SealedRecord], Field(min_length=1, max_length=1000)]


def receive(space: Space, source_id: str, token: str, items: list[dict[str, Any]], now: int) -> dict[str, Any]:
    """``{"delivery_id", "items": [{"link_id", "collection", "accepted": n} | {…, "refused": code}]}``.

    A refused item leaves the others as they are. The same delivery again gets the same answer; another delivery under
    the same number is refused.
    """
    parsed = [DeliveryItem.model_validate(item) for item in items]
    with space.database.write() as session:
        source = _source(session, space, source_id, now)
        delivery = verified(Delivery, token, key_bytes(source.key))
        if delivery.content.source_id != source_id or delivery.content.items != digest(
            "delivery-items", canonical(items)
        ):
            raise DeliveryRefusedError("the cover is not of these items", code="delivery_cover_mismatch")
        known = vault.delivery(session, source_id, delivery.content.number)
        if known is not None:
            if known[0] != delivery.digest:
                raise DeliveryRefusedError("another delivery has this number", code="delivery_number_taken")
            answer: dict[str, Any] = json.loads(known[1])
            return answer
        answer = _store(session, space, source, delivery, parsed, now)
    space.sequencer.wake()
    return answer


def _source(session: Session, space: Space, source_id: str, now: int) -> Source:
    token = identity.lock_source(session, source_id)  # the deliveries of one source take turns
    if token is None:
        raise DeliveryRefusedError("no such source is registered", code="unknown_source")
    source = Source.verify(token, space.registrar)
    if not source.valid_at(now):
        raise DeliveryRefusedError("the source's registration is not valid at this time", code="source_not_valid")
    return source


def _store(
    session: Session, space: Space, source: Source, delivery: Verified[Delivery], items: list[DeliveryItem], now: int
) -> dict[str, Any]:
    links = identity.links_by_name(session, source.source_id, [item.link_id for item in items])
    residents = sorted({link.resident_id for link in links.values()})
    subjects = identity.subjects_of(session, residents)
    taken = vault.known_records(session, residents, [r.record_id for item in items for r in item.records])
    used: set[str] = set()
    slots: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    entries: list[NewEntry] = []
    outcomes: list[dict[str, Any]] = []
    chains: dict[str, KeyChain] = {}
    for item in items:
        outcome: dict[str, Any] = {"link_id": item.link_id, "collection": item.collection}
        outcomes.append(outcome)
        try:
            if item.link_id not in links:
                raise DeliveryRefusedError("no such link", code="unknown_link")
            resident_id = links[item.link_id].resident_id
            if resident_id not in chains:
                statements = identity.statements_of(session, resident_id)
                chains[resident_id] = follow(statements, subjects[resident_id])
            if item.slot_id in used:
                raise DeliveryRefusedError("a slot of this id is in this batch already", code="duplicate_slot")
            rows = _rows(item, source, chains[resident_id], resident_id, taken, now)
        except DataspaceError as error:
            outcome["refused"] = error.code
            continue
        slots.append(rows[0])
        records.extend(rows[1])
        used.add(item.slot_id)
        taken.update(record.record_id for record in item.records)
        outcome["accepted"] = len(item.records)
        fields = {
            "source_id": source.source_id,
            "delivery_id": delivery.content.delivery_id,
            "collection": item.collection,
            "records": len(item.records),
        }
        entries.append(NewEntry("records.received", now, fields, subjects[resident_id]))
    try:
        vault.add_slots(session, slots)
        vault.add_records(session, records)
    except IntegrityError as error:
        raise DeliveryRefusedError("a slot of this id is already here", code="duplicate_slot") from error
    space.log.append_many(session, entries)
    answer = {"delivery_id": delivery.content.delivery_id, "items": outcomes}
    vault.put_delivery(session, source.source_id, delivery.content.number, delivery.digest, json.dumps(answer))
    return answer


def _rows(
    item: DeliveryItem, source: Source, chain: KeyChain, resident_id: str, taken: set[str], now: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Rows to store for one item, or a refusal. The service cannot see inside; it checks place, epoch and size."""
    if item.collection not in source.collections:
        raise DeliveryRefusedError("the source may not deliver this collection", code="collection_not_registered")
    epoch = chain.epochs.get(item.collection)
    if epoch is None or epoch.key_digest != item.epoch_key:
        raise DeliveryRefusedError("sealed to an epoch that is not current", code="retired_epoch")
    names = {record.record_id for record in item.records}
    if len(names) != len(item.records) or names & taken:
        raise DeliveryRefusedError("a record of this id is already here", code="duplicate_record")
    slot = {
        "resident_id": resident_id,
        "slot_id": item.slot_id,
        "collection": item.collection,
        "epoch_key": item.epoch_key,
        "source_id": source.source_id,
        "sealed": unb64(item.slot, size=HPKE_OVERHEAD + KEY_BYTES),
    }
    rows: list[dict[str, Any]] = []
    for record in item.records:
        sealed = unb64(record.sealed)
        if not AEAD_OVERHEAD + 512 <= len(sealed) <= MAX_RECORD_BYTES:
            raise DeliveryRefusedError("a record has an impossible size", code="record_size")
        rows.append(
            {
                "resident_id": resident_id,
                "record_id": record.record_id,
                "slot_id": item.slot_id,
                "received_at": now,
                "sealed": sealed,
            }
        )
    return slot, rows
