"""The key inside a grant: sealed by the resident's client to one grant's broker key, opened by the broker alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataspace.kernel.encoding import HEADER, digest, frame, parse_canonical
from vault.envelope import SlotContext, open_slot
from vault.errors import CannotOpenError
from vault.keyring import Keyring
from vault.suite1 import OpeningKey, SealingKey, epoch_key_digest


@dataclass(frozen=True)
class SealedSlot:
    """A slot as stored: its context and the sealed slot key."""

    context: SlotContext
    sealed: bytes


@dataclass(frozen=True)
class GrantKeyContext:
    """What one sealed key of a grant is for; all of it is bound into the seal."""

    grant_digest: str
    collection: str
    epoch_key: str
    kind: str
    slot: str

    def info(self) -> bytes:
        fields = (self.grant_digest, self.collection, self.epoch_key, self.kind, self.slot)
        return frame("grant-key", HEADER, *fields)


def seal_grant(
    ring: Keyring, terms: bytes, broker_key: SealingKey, slots: Mapping[str, SealedSlot]
) -> tuple[str, list[bytes]]:
    """(signed grant, sealed keys) for the canonical ``terms``: slot keys when one-time, epoch seeds when ongoing."""
    content = parse_canonical(terms)
    grant_digest = digest("grant", terms)
    names: list[dict[str, Any]] = []
    sealed: list[bytes] = []
    for scope in content["scope"]:
        for slot, key in _material(ring, scope, content["mode"], slots):
            kind = "slot" if slot else "epoch"
            context = GrantKeyContext(grant_digest, scope["collection"], scope["epoch_key"], kind, slot)
            sealed.append(broker_key.seal(context.info(), key))
            names.append(
                {
                    "collection": scope["collection"],
                    "epoch_key": scope["epoch_key"],
                    "kind": kind,
                    "slot": slot,
                    "digest": digest("sealed-key", sealed[-1]),
                }
            )
    return ring.signing.sign("grant", {"grant": content, "sealed": names}), sealed


def _material(
    ring: Keyring, scope: dict[str, Any], mode: str, slots: Mapping[str, SealedSlot]
) -> list[tuple[str, bytes]]:
    seed = ring.seeds.get((scope["collection"], scope["epoch"]))
    if seed is None or not slots.keys() >= set(scope["slots"]):
        raise CannotOpenError
    opening = OpeningKey(seed)
    if epoch_key_digest(opening.public) != scope["epoch_key"]:
        raise CannotOpenError
    if mode == "ongoing":
        return [("", seed)]
    return [(name, open_slot(opening, slots[name].context, slots[name].sealed)) for name in scope["slots"]]


def open_grant_key(key: OpeningKey, context: GrantKeyContext, sealed: bytes) -> bytes:
    """The 32-byte slot key or epoch seed."""
    return key.open(context.info(), sealed)
