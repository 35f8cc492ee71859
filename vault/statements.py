"""Key statements: the signed, numbered chain in which a resident names the keys that others may seal to.

Rules, in the order they are checked by :meth:`KeyChain.pin` and :meth:`KeyChain.extend`:

1. strict JWS of type ``key-statement`` with exactly the known members;
2. number 1 is signed by the key it names and has no predecessor; the pinning side knows that key's fingerprint from
   the resident, never from the service;
3. number n is signed by the key of number n-1 and names its digest;
4. an epoch of a collection never goes back, and an epoch number never changes its key;
5. a statement that has expired is not used for sealing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from dataspace.kernel.encoding import b64, digest, unb64
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.jws import Signed, SigningKey, fingerprint, parse, verify
from vault.errors import KeyStatementError
from vault.suite1 import PUBLIC_KEY_BYTES, epoch_key_digest

TYP = "key-statement"
_MEMBERS = {"v", "suite", "number", "previous", "signing_key", "epochs", "issued_at", "not_after"}


@dataclass(frozen=True)
class Epoch:
    """One key pair of a collection, named by its number; ``key`` is the public half (1,216 bytes)."""

    collection: str
    epoch: int
    key: bytes

    @property
    def key_digest(self) -> str:
        return epoch_key_digest(self.key)


@dataclass(frozen=True)
class KeyChain:
    """The verified head of a resident's chain. ``subject`` names the chain for ever: its first key's fingerprint."""

    subject: str
    number: int
    head: str
    signing_key: bytes
    epochs: Mapping[str, Epoch]
    not_after: int
    first: str

    @classmethod
    def pin(cls, statement: str, subject: str) -> KeyChain:
        """Start from statement 1, whose key has the fingerprint ``subject`` that the resident gave us."""
        signed = parse(statement)
        key = _signing_key(signed.payload)
        if fingerprint(key) != subject:
            raise KeyStatementError("not the key whose fingerprint the resident gave", code="substituted_epoch_key")
        signed = _verified(statement, key)
        payload = signed.payload
        if payload["number"] != 1 or payload["previous"] is not None:
            raise KeyStatementError("a chain starts with number 1")
        name = digest(TYP, signed.payload_bytes)
        return cls(subject, 1, name, key, _epochs(payload), payload["not_after"], name)

    def extend(self, statement: str) -> KeyChain:
        """The chain with its next statement, or a refusal; a statement already known is refused as well."""
        signed = _verified(statement, self.signing_key)
        payload = signed.payload
        if payload["number"] != self.number + 1 or payload["previous"] != self.head:
            raise KeyStatementError("not the successor of the statement known here")
        epochs = _epochs(payload)
        for old in self.epochs.values():
            new = epochs.get(old.collection)
            if new is None or new.epoch < old.epoch or (new.epoch == old.epoch and new.key != old.key):
                raise KeyStatementError(f"the epoch of {old.collection} goes back or changes its key")
        key = _signing_key(payload)
        name = digest(TYP, signed.payload_bytes)
        return KeyChain(self.subject, self.number + 1, name, key, epochs, payload["not_after"], self.first)

    def epoch_for_sealing(self, collection: str, now: int) -> Epoch:
        """The current epoch of ``collection``; refused when there is none or the statement has expired."""
        if now >= self.not_after:
            raise KeyStatementError("the resident's key statement has expired", code="key_statement_expired")
        if collection not in self.epochs:
            raise KeyStatementError(f"the resident has no key for {collection}", code="no_epoch")
        return self.epochs[collection]


def follow(statements: list[str], subject: str) -> KeyChain:
    """The head of a whole chain, from statement 1 on."""
    if not statements:
        raise KeyStatementError("the chain is empty")
    chain = KeyChain.pin(statements[0], subject)
    for statement in statements[1:]:
        chain = chain.extend(statement)
    return chain


def write_statement(
    signer: SigningKey,
    *,
    signing_key: bytes,
    number: int,
    previous: str | None,
    epochs: list[Epoch],
    issued_at: int,
    not_after: int,
) -> str:
    """Sign statement ``number``; ``signer`` is the key of the statement before (or the named key for number 1)."""
    return signer.sign(
        TYP,
        {
            "number": number,
            "previous": previous,
            "signing_key": b64(signing_key),
            "epochs": [{"collection": e.collection, "epoch": e.epoch, "key": b64(e.key)} for e in epochs],
            "issued_at": issued_at,
            "not_after": not_after,
        },
    )


def _verified(statement: str, key: bytes) -> Signed:
    signed = verify(statement, TYP, key)
    payload = signed.payload
    if payload.keys() != _MEMBERS:
        raise KeyStatementError("unknown or missing members")
    if not all(type(payload[name]) is int for name in ("number", "issued_at", "not_after")):
        raise KeyStatementError("number, issued_at and not_after are whole numbers")
    return signed


def _signing_key(payload: dict[str, Any]) -> bytes:
    return unb64(payload.get("signing_key", ""), size=32)


def _epochs(payload: dict[str, Any]) -> Mapping[str, Epoch]:
    found: dict[str, Epoch] = {}
    try:
        for item in payload["epochs"]:
            if item.keys() != {"collection", "epoch", "key"} or item["collection"] in found:
                raise KeyStatementError("epochs name each collection once, with its number and key")
            if type(item["epoch"]) is not int or item["epoch"] < 1 or not isinstance(item["collection"], str):
                raise KeyStatementError("epochs name a collection and are numbered from 1")
            found[item["collection"]] = Epoch(
                item["collection"], item["epoch"], unb64(item["key"], size=PUBLIC_KEY_BYTES)
            )
    except (AttributeError, KeyError, TypeError) as error:
        raise KeyStatementError("epochs are not in the required form") from error
    except DataspaceError as error:
        raise KeyStatementError(error.detail) from error
    return MappingProxyType(found)
