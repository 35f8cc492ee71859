"""The resident's keys under one vault key: signing key, and one seed for each epoch of each collection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import ValidationError

from dataspace.kernel.encoding import HEADER, b64, frame, unb64
from dataspace.kernel.errors import MalformedError
from dataspace.kernel.jws import SigningKey, fingerprint
from dataspace.kernel.signed import Count, Part, Word, problems
from vault.errors import CannotOpenError
from vault.statements import Epoch, KeyChain, follow, write_statement
from vault.suite1 import OpeningKey, aead_open, aead_seal, derive, new_key

STATEMENT_SECONDS = 365 * 86_400


class _EpochWrap(Part):
    collection: Word
    epoch: Count
    wrap: str


class _Wraps(Part):
    """As the server keeps it; ``recovery`` is the vault key under the recovery words (:mod:`vault.recovery`)."""

    signing_key: str
    epochs: list[_EpochWrap]
    recovery: str = ""


@dataclass
class Keyring:
    """Opened keys, in the client only. ``statements`` is the whole signed chain, oldest first."""

    vault_key: bytes
    signing: SigningKey
    subject: str
    seeds: dict[tuple[str, int], bytes] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    chain: KeyChain | None = None

    @classmethod
    def create(cls, collections: list[str], now: int, random_key: Callable[[], bytes] = new_key) -> Keyring:
        """A new vault with epoch 1 of each collection and its first key statement."""
        signing = SigningKey(random_key())
        ring = cls(random_key(), signing, signing.kid)
        ring.new_epochs(collections, now, random_key)
        return ring

    def new_epochs(self, collections: list[str], now: int, random_key: Callable[[], bytes] = new_key) -> str:
        """Start the next epoch of each collection, in one signed statement; old seeds stay, to read old data."""
        current = dict(self.chain.epochs) if self.chain else {}
        for name in collections:
            number = current[name].epoch + 1 if name in current else 1
            seed = random_key()
            self.seeds[name, number] = seed
            current[name] = Epoch(name, number, OpeningKey(seed).public)
        statement = write_statement(
            self.signing,
            signing_key=self.signing.public,
            number=self.chain.number + 1 if self.chain else 1,
            previous=self.chain.head if self.chain else None,
            epochs=list(current.values()),
            issued_at=now,
            not_after=now + STATEMENT_SECONDS,
        )
        self.chain = self.chain.extend(statement) if self.chain else KeyChain.pin(statement, self.subject)
        self.statements.append(statement)
        return statement

    def wrapped(self) -> dict[str, object]:
        """Everything the server keeps for the client: sealed under the vault key, useless without it."""
        key = _wrapping_key(self.vault_key)
        return {
            "signing_key": b64(aead_seal(key, _aad("signing-key", self.signing.kid, 0), self.signing.seed)),
            "epochs": [
                {"collection": name, "epoch": number, "wrap": b64(aead_seal(key, _aad("epoch", name, number), seed))}
                for (name, number), seed in sorted(self.seeds.items())
            ],
        }

    @classmethod
    def unwrap(cls, vault_key: bytes, wraps: dict[str, object], statements: list[str], subject: str) -> Keyring:
        """Open what :meth:`wrapped` wrote; the chain is verified from its first statement on.

        Refused unless every current epoch of the chain is among the wraps, with the seed of its key.
        """
        chain = follow(statements, subject)
        key = _wrapping_key(vault_key)
        kid = fingerprint(chain.signing_key)
        kept = _read_wraps(wraps)
        signing = SigningKey(aead_open(key, _aad("signing-key", kid, 0), unb64(kept.signing_key)))
        ring = cls(vault_key, signing, subject, statements=list(statements), chain=chain)
        for item in kept.epochs:
            place = item.collection, item.epoch
            ring.seeds[place] = aead_open(key, _aad("epoch", *place), unb64(item.wrap))
        for epoch in chain.epochs.values():
            seed = ring.seeds.get((epoch.collection, epoch.epoch))
            if seed is None or OpeningKey(seed).public != epoch.key:
                raise CannotOpenError
        return ring


def _read_wraps(wraps: dict[str, object]) -> _Wraps:
    try:
        return _Wraps.model_validate(wraps)
    except ValidationError as error:
        raise MalformedError(f"wraps: {problems(error)}") from error


def _wrapping_key(vault_key: bytes) -> bytes:
    return derive(vault_key, frame("vault-wrap", HEADER))


def _aad(what: str, name: str, number: int) -> bytes:
    return frame("wrap", HEADER, what, name, number)
