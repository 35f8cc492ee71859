"""Slots and records: how a source seals, and how a client or an attested node opens (docs/formats.md)."""

from __future__ import annotations

from dataclasses import dataclass

from dataspace.kernel.encoding import HEADER, frame
from dataspace.kernel.errors import MalformedError
from vault.suite1 import OpeningKey, SealingKey, aead_open, aead_seal, derive

_BUCKETS = [512 << n for n in range(8)]  # 512 bytes … 64 KiB
_LARGEST = _BUCKETS[-1]


@dataclass(frozen=True)
class SlotContext:
    """What a slot is sealed for; every value is bound into the seal."""

    slot_id: str
    collection: str
    epoch_key: str
    source_id: str

    def info(self) -> bytes:
        return frame("slot", HEADER, self.slot_id, self.collection, self.epoch_key, self.source_id)


def seal_slot(key: SealingKey, context: SlotContext, slot_key: bytes) -> bytes:
    """Seal a 32-byte slot key to an epoch."""
    return key.seal(context.info(), slot_key)


def open_slot(key: OpeningKey, context: SlotContext, sealed: bytes) -> bytes:
    """The slot key."""
    return key.open(context.info(), sealed)


def record_key(slot_key: bytes, record_id: str) -> bytes:
    """The key of one record: enough to open that record, and nothing else of its slot."""
    return derive(slot_key, frame("record", HEADER, record_id))


def record_aad(record_id: str, slot_id: str, collection: str, epoch_key: str) -> bytes:
    return frame("record-aad", HEADER, record_id, slot_id, collection, epoch_key)


def seal_record(slot_key: bytes, record_id: str, context: SlotContext, payload: bytes) -> bytes:
    """Seal the padded payload (see :func:`pack`) of one record under its slot."""
    aad = record_aad(record_id, context.slot_id, context.collection, context.epoch_key)
    return aead_seal(record_key(slot_key, record_id), aad, payload)


def open_record(key: bytes, record_id: str, context: SlotContext, sealed: bytes) -> bytes:
    """The padded payload, given the record's own key (:func:`record_key`)."""
    return aead_open(key, record_aad(record_id, context.slot_id, context.collection, context.epoch_key), sealed)


def pack(data: bytes, proof: str) -> bytes:
    """Data and the source's signature in one block, padded to a bucket so that its size tells little."""
    signature = proof.encode("ascii")
    body = b"".join((len(data).to_bytes(4, "big"), data, len(signature).to_bytes(4, "big"), signature))
    return body.ljust(_bucket(len(body)), b"\0")


def unpack(payload: bytes) -> tuple[bytes, str]:
    """(data, source's signature) of :func:`pack`; anything else behind them than zero bytes is refused."""
    data, rest = _take(payload)
    signature, padding = _take(rest)
    if padding.strip(b"\0") or len(payload) != _bucket(len(payload) - len(padding)):
        raise MalformedError("the padding of a record is not as required")
    try:
        return data, signature.decode("ascii")
    except UnicodeDecodeError as error:
        raise MalformedError("the proof of a record is not text") from error


def _take(block: bytes) -> tuple[bytes, bytes]:
    size = int.from_bytes(block[:4], "big")
    if len(block) < 4 + size:
        raise MalformedError("a record ends too early")
    return block[4 : 4 + size], block[4 + size :]


def _bucket(size: int) -> int:
    for bucket in _BUCKETS:
        if size <= bucket:
            return bucket
    return -(-size // _LARGEST) * _LARGEST
