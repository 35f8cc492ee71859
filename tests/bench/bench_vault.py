"""Sealing and opening 10,000 records of 1 KB, against bare HKDF and AEAD calls (target: at least 0.5 of their rate)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from nacl import bindings

from vault.envelope import SlotContext, open_record, record_key, seal_record
from vault.suite1 import derive

RECORDS = 10_000
KILOBYTE = 1024


def run() -> list[str]:
    """Rates in records per second, and their ratio to the bare loop of the same run."""
    slot_key, payload = secrets.token_bytes(32), secrets.token_bytes(KILOBYTE)
    place = SlotContext("s" * 22, "vitals", "e" * 43, "health")
    names = [f"{number:022d}" for number in range(RECORDS)]
    sealed: list[bytes] = []
    ours_seal = _rate(lambda: sealed.extend(seal_record(slot_key, name, place, payload) for name in names))
    ours_open = _rate(lambda: _open_all(names, slot_key, place, sealed))
    boxes: list[bytes] = []
    nonce = secrets.token_bytes(24)
    bare_seal = _rate(lambda: boxes.extend(_bare_seal(slot_key, name, payload, nonce) for name in names))
    bare_open = _rate(lambda: _bare_open_all(names, slot_key, boxes, nonce))
    return [
        f"seal {ours_seal:,.0f}/s, bare {bare_seal:,.0f}/s, ratio {ours_seal / bare_seal:.2f}",
        f"open {ours_open:,.0f}/s, bare {bare_open:,.0f}/s, ratio {ours_open / bare_open:.2f}",
        f"overhead of a sealed record: {len(sealed[0]) - KILOBYTE} bytes",
    ]


def _open_all(names: list[str], slot_key: bytes, place: SlotContext, sealed: list[bytes]) -> None:
    for name, box in zip(names, sealed, strict=True):
        open_record(record_key(slot_key, name), name, place, box)


def _bare_seal(key: bytes, name: str, payload: bytes, nonce: bytes) -> bytes:
    own = derive(key, name.encode())
    return bytes(bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(payload, b"aad", nonce, own))


def _bare_open_all(names: list[str], key: bytes, boxes: list[bytes], nonce: bytes) -> None:
    for name, box in zip(names, boxes, strict=True):
        bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(box, b"aad", nonce, derive(key, name.encode()))


def _rate(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return RECORDS / (time.perf_counter() - begun)
