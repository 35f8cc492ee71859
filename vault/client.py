"""The resident's side: makes and keeps the keys, opens the records, signs, and checks what the service says.

The Python twin of the browser's code. It trusts the pinned registrar, broker, log and witness keys in ``Pins``, and
nothing that the service sends before it has verified it. Terms of a grant come in as canonical bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from dataspace.kernel.encoding import b64, unb64
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.http import call
from dataspace.kernel.ids import random_id
from dataspace.kernel.jws import verify
from dataspace.kernel.logproof import LogGapError, VerifiedEntry, verify_subject_chain
from dataspace.kernel.merkle import ProofInvalidError, verify_consistency
from dataspace.kernel.note import Checkpoint, verify_checkpoint
from dataspace.kernel.signed import key_bytes
from dataspace.standard.register import Source
from vault.envelope import SlotContext, open_record, open_slot, record_key
from vault.errors import RecordInvalidError
from vault.granting import SealedSlot, seal_grant
from vault.keyring import Keyring
from vault.records import Record, read_record
from vault.recovery import new_words, wrap_vault_key
from vault.suite1 import OpeningKey, SealingKey, epoch_key_digest

ASSERTION_SECONDS = 60
TOKEN_SECONDS = 240


@dataclass(frozen=True)
class ClientPins:
    """Public keys and names that are built into the client."""

    audience: str
    registrar: bytes
    broker: bytes
    log_origin: str
    log_key: bytes
    witnesses: Mapping[str, bytes]
    witness_quorum: int


@dataclass
class SeenLog:
    """What this device has verified of the log; it accepts nothing older or different."""

    size: int = 0
    root: bytes = b""
    number: int = 0
    entry: str | None = None
    entries: list[VerifiedEntry] = field(default_factory=list)


class ResidentClient:
    """One resident's client. ``register`` or ``load`` first."""

    def __init__(
        self, http: httpx.Client, pins: ClientPins, ring: Keyring, clock: Callable[[], float] = time.time
    ) -> None:
        self.http = http
        self.pins = pins
        self.ring = ring
        self.seen = SeenLog()
        self.clock = clock
        self._token = ""
        self._token_until = 0.0
        self._recovery = ""
        self._withdrawals: dict[str, dict[str, Any]] = {}

    @property
    def subject(self) -> str:
        return self.ring.subject

    @classmethod
    def create(
        cls,
        http: httpx.Client,
        pins: ClientPins,
        collections: list[str],
        language: str = "zh",
        clock: Callable[[], float] = time.time,
    ) -> tuple[ResidentClient, str]:
        """(client with new keys, the 24 recovery words to write down)."""
        client = cls(http, pins, Keyring.create(collections, int(clock())), clock)
        words, entropy = new_words(language)
        client._recovery = b64(wrap_vault_key(entropy, client.subject, client.ring.vault_key))
        return client, words

    # access

    def register(self, space: str) -> None:
        """Open the data space at the service."""
        body = {
            "assertion": self._assertion(),
            "statement": self.ring.statements[0],
            "wraps": self._wraps(),
            "space": space,
        }
        self._keep(call(self.http, "POST", "/v1/residents", body))

    def _assertion(self) -> str:
        now = int(self.clock())
        claims = {
            "aud": self.pins.audience,
            "role": "resident",
            "sub": self.subject,
            "jti": random_id(),
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
        }
        return self.ring.signing.sign("assertion", claims)

    def _keep(self, answer: dict[str, Any]) -> None:
        self._token = str(answer["token"])
        self._token_until = self.clock() + TOKEN_SECONDS

    def _call(self, method: str, path: str, body: object | None = None) -> dict[str, Any]:
        if self.clock() >= self._token_until:
            self._keep(call(self.http, "POST", "/v1/token", {"assertion": self._assertion()}))
        return call(self.http, method, path, body, token=self._token)

    def _wraps(self) -> dict[str, Any]:
        return {**self.ring.wrapped(), "recovery": self._recovery}

    # links and records

    def hand_in_links(self, links: list[str]) -> int:
        """Tell the service which sources know this resident."""
        return int(self._call("POST", "/v1/me/links", {"links": links})["linked"])

    def new_handle(self, operator_id: str) -> str:
        return str(self._call("POST", "/v1/me/handles", {"operator_id": operator_id})["handle"])

    def records(self) -> tuple[list[Record], dict[str, SealedSlot]]:
        """(own records, opened and verified up to the registrar; sealed slots by id)."""
        answer = self._call("GET", "/v1/me/records")
        self._refuse_rollback(answer["statements"])
        sources = {}
        for token in answer["sources"]:
            source = Source.verify(token, self.pins.registrar)
            sources[source.source_id] = source
        records: list[Record] = []
        slots: dict[str, SealedSlot] = {}
        slot_keys: dict[str, bytes] = {}
        for item in answer["records"]:
            place = SlotContext(item["slot_id"], item["collection"], item["epoch_key"], item["source_id"])
            if place.slot_id not in slots:
                slots[place.slot_id] = SealedSlot(place, unb64(item["slot"]))
                slot_keys[place.slot_id] = open_slot(self._epoch(place), place, slots[place.slot_id].sealed)
            key = record_key(slot_keys[place.slot_id], item["record_id"])
            payload = open_record(key, item["record_id"], place, unb64(item["sealed"]))
            registered = sources.get(place.source_id)
            if registered is None or place.collection not in registered.collections:
                raise RecordInvalidError("the record's source is not registered for it", code="unknown_source")
            records.append(read_record(payload, item["record_id"], place, key_bytes(registered.key)))
        return records, slots

    def _epoch(self, place: SlotContext) -> OpeningKey:
        """The private key of the epoch that ``place`` names, of any epoch this resident ever had."""
        for (name, _number), seed in self.ring.seeds.items():
            if name == place.collection:
                key = OpeningKey(seed)
                if epoch_key_digest(key.public) == place.epoch_key:
                    return key
        raise DataspaceError("a record is sealed to a key that is not ours", code="substituted_epoch_key")

    def _refuse_rollback(self, statements: list[str]) -> None:
        """The service must know at least the statements that this device has made."""
        if list(statements)[: len(self.ring.statements)] != self.ring.statements:
            raise DataspaceError("the service shows other key statements than ours", code="key_statement_rolled_back")

    # questions and answers

    def asks(self) -> list[dict[str, str]]:
        """Signed questions that wait for an answer; verify before showing (``consent.asking``)."""
        return list(self._call("GET", "/v1/me/asks")["asks"])

    def grant(self, terms: bytes, broker_key: bytes, slots: Mapping[str, SealedSlot]) -> str:
        """Seal what ``terms`` cover to the broker's key for this question, sign, send; answers the grant's digest."""
        token, sealed = seal_grant(self.ring, terms, SealingKey(broker_key), slots)
        body = {"grant": token, "sealed": [b64(item) for item in sealed]}
        return str(self._call("POST", "/v1/me/grants", body)["grant_digest"])

    def refuse(self, request_digest: str) -> str:
        """Refuse; answers the receipt."""
        now = int(self.clock())
        claims = {"request_digest": request_digest, "subject": self.subject, "issued_at": now, "nonce": random_id()}
        refusal = self.ring.signing.sign("refusal", claims)
        return str(self._call("POST", "/v1/me/refusals", {"refusal": refusal})["receipt"])

    def grants(self) -> list[dict[str, Any]]:
        return list(self._call("GET", "/v1/me/grants")["grants"])

    def withdraw(self, grant_digest: str, ongoing_collections: list[str]) -> str:
        """Withdraw a grant; for an ongoing one the next epochs of its collections start in the same act.

        Until the service has answered, trying again sends the same signed act.
        """
        if grant_digest not in self._withdrawals:
            self._withdrawals[grant_digest] = self._withdrawal(grant_digest, ongoing_collections)
        state = str(self._call("POST", "/v1/me/withdrawals", self._withdrawals[grant_digest])["state"])
        del self._withdrawals[grant_digest]
        return state

    def _withdrawal(self, grant_digest: str, ongoing_collections: list[str]) -> dict[str, Any]:
        now = int(self.clock())
        statement = self.ring.new_epochs(ongoing_collections, now) if ongoing_collections else None
        head = self.ring.chain.head if statement and self.ring.chain else None
        claims = {"grant_digest": grant_digest, "subject": self.subject, "key_statement": head, "issued_at": now}
        body: dict[str, Any] = {"withdrawal": self.ring.signing.sign("withdrawal", claims)}
        return body | {"key_statement": statement, "wraps": self._wraps()} if statement else body

    def destroyed(self, grant_digest: str, broker_state: str) -> bool:
        """Whether the pinned broker says, signed, that the key of this grant, and not of another, no longer exists."""
        said = verify(broker_state, "grant-state", self.pins.broker).payload
        return bool(said["state"] == "destroyed" and said["grant_digest"] == grant_digest)

    # the log

    def check_log(self) -> list[VerifiedEntry]:
        """Every log entry about this resident since the last check, proven complete; raises if anything is missing.

        Checks the checkpoint (log key, witness), its consistency with the one seen before, inclusion of each entry, the
        gapless chain, and that the newest entry which the broker has acted on is among them.
        """
        checkpoint: Checkpoint | None = None
        found: list[VerifiedEntry] = []
        more = True
        while more:
            page = self._call("GET", f"/v1/me/log?after={self.seen.number}")
            checkpoint = self._continue(page["checkpoint"])
            head = self._head(page["head"])
            more = bool(page["more"])
            entries = verify_subject_chain(
                page["entries"],
                checkpoint,
                self.subject,
                from_number=self.seen.number + 1,
                previous=self.seen.entry,
                head=None if more else head,
            )
            if more and not entries:
                raise LogGapError("the log says that there is more, and does not show it")
            if entries:
                self.seen.number += len(entries)
                self.seen.entry = entries[-1].leaf_hash
            found += entries
        self.seen.entries += found
        return found

    def _continue(self, text: str) -> Checkpoint:
        pins = self.pins
        shown = verify_checkpoint(text, pins.log_key, pins.log_origin, pins.witnesses, pins.witness_quorum)
        if shown.size < self.seen.size:
            raise ProofInvalidError("the log has become shorter", code="log_rolled_back")
        if self.seen.size and shown.size > self.seen.size:
            path = f"/v1/log/consistency?from_size={self.seen.size}&to_size={shown.size}"
            proof = [unb64(item, size=32) for item in call(self.http, "GET", path)["hashes"]]
            verify_consistency(self.seen.size, shown.size, proof, self.seen.root, shown.root)
        elif self.seen.size and shown.root != self.seen.root:
            raise ProofInvalidError("the log shows another history", code="log_forked")
        self.seen.size, self.seen.root = shown.size, shown.root
        return shown

    def _head(self, token: str) -> tuple[int, str] | None:
        head = verify(token, "subject-head", self.pins.broker).payload
        if head["subject"] != self.subject:
            raise ProofInvalidError("the broker's word is about somebody else")
        if head["number"] and not isinstance(head["entry"], str):
            raise LogGapError("the broker's word names no entry")
        return (head["number"], head["entry"]) if head["number"] else None
