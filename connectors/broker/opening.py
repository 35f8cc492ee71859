"""From grants to record keys: opens what residents sealed, derives the keys of exactly the granted records."""

from __future__ import annotations

from collections.abc import Mapping

from connectors.attestation import Ear, record_list_digest
from connectors.broker.checks import CheckedGrant
from connectors.broker.errors import BrokerRefusedError
from dataspace.kernel.encoding import HEADER, frame, unb64
from vault.envelope import SlotContext, open_slot, record_key
from vault.granting import GrantKeyContext, open_grant_key
from vault.suite1 import OpeningKey, SealingKey, epoch_key_digest


def record_keys(grants: list[CheckedGrant], seeds: Mapping[str, bytes | None]) -> tuple[list[str], list[bytes]]:
    """(record ids, their keys) in one order. ``seeds`` are the private halves of the grants' keys, by key id."""
    names: list[str] = []
    keys: list[bytes] = []
    for grant in grants:
        seed = seeds.get(grant.terms.broker_key)
        if seed is None:
            raise BrokerRefusedError("the key of a grant no longer exists", code="withdrawn_grant")
        slot_keys = _slot_keys(grant, OpeningKey(seed))
        for record in grant.records:
            names.append(record.record_id)
            keys.append(record_key(slot_keys[record.collection, record.slot_id], record.record_id))
    if len(set(names)) != len(names):
        raise BrokerRefusedError("a record is named twice")
    return names, keys


def _slot_keys(grant: CheckedGrant, key: OpeningKey) -> dict[tuple[str, str], bytes]:
    """Slot keys by (collection, slot): straight from a one-time grant, through the epoch seed of an ongoing one."""
    opened: dict[tuple[str, str], bytes] = {}
    epochs: dict[str, tuple[str, OpeningKey]] = {}
    for name, sealed in zip(grant.content.sealed, grant.sealed, strict=True):
        context = GrantKeyContext(grant.digest, name.collection, name.epoch_key, name.kind, name.slot)
        material = open_grant_key(key, context, sealed)
        if name.kind == "slot":
            opened[name.collection, name.slot] = material
            continue
        epoch = OpeningKey(material)
        if epoch_key_digest(epoch.public) != name.epoch_key:
            raise BrokerRefusedError("the sealed seed is of another epoch", code="substituted_epoch_key")
        epochs[name.collection] = (name.epoch_key, epoch)
    for record in grant.records:
        place = (record.collection, record.slot_id)
        if place not in opened:
            epoch_key, epoch = epochs[record.collection]
            slot = SlotContext(record.slot_id, record.collection, epoch_key, record.source_id)
            opened[place] = open_slot(epoch, slot, unb64(record.slot))
    return opened


def record_keys_info(run_id: str, request_digest: str, nonce: str, names: list[str]) -> bytes:
    """HPKE info of the record keys for one attested node, one run, one list of records."""
    return frame("record-keys", HEADER, run_id, request_digest, nonce, record_list_digest(names))


def seal_record_keys(ear: Ear, names: list[str], keys: list[bytes]) -> bytes:
    """All record keys, sealed to the key that the evidence bound."""
    info = record_keys_info(ear.run_id, ear.request_digest, ear.nonce, names)
    return SealingKey(unb64(ear.node_hpke_key)).seal(info, b"".join(keys))
