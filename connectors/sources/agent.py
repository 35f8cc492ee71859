"""A source's own program: links people, seals and signs their records on the spot, delivers batches until they arrive.

Everything that leaves has been written to the outbox first; after a crash the same bytes are sent again and the service
gives the same answer. What the service says about keys is believed only as a continuation of the chain that was pinned,
with its fingerprint from the resident, when the person was linked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import httpx

from connectors.sources.csv_records import SourceRecord
from connectors.sources.state import LinkState, SourceState
from dataspace.kernel.encoding import b64, canonical, digest
from dataspace.kernel.errors import DataspaceError, MalformedError
from dataspace.kernel.http import call
from dataspace.kernel.ids import random_id
from dataspace.kernel.jws import SigningKey
from dataspace.standard import schema_id
from vault.envelope import SlotContext, seal_record, seal_slot
from vault.errors import KeyStatementError
from vault.records import Record, sign_record
from vault.statements import KeyChain, follow
from vault.suite1 import SealingKey, new_key

BATCH_PERSONS = 200
ASSERTION_SECONDS = 60


class LinkRefusedError(DataspaceError):
    """The source does not link this person."""

    code = "link_refused"
    status = 403


@dataclass(frozen=True)
class Sent:
    """What became of a round of deliveries: numbers of records, and refusals by code."""

    accepted: int
    refused: dict[str, int]


class SourceAgent:
    """One source with its key and its own durable state."""

    def __init__(self, source_id: str, key: SigningKey, state: SourceState, http: httpx.Client, audience: str) -> None:
        self.source_id = source_id
        self.key = key
        self.state = state
        self.http = http
        self.audience = audience
        self._expired: set[str] = set()

    def link(self, person: str, statements: Sequence[str], subject: str, now: int) -> str:
        """Pin the chain that starts with the key whose fingerprint (``subject``) the person gave; answers the link.

        The caller has checked the person by the source's own means. One person has one link; the same request again
        gets the same answer; another key for a linked person is refused until the link is ended.
        """
        chain = follow(list(statements), subject)
        known = self.state.link_of(person)
        if known is not None:
            if known.subject != subject:
                raise LinkRefusedError("this person is linked with another key", code="already_linked")
            return known.token
        link_id = random_id()
        token = self.key.sign(
            "link",
            {
                "source_id": self.source_id,
                "link_id": link_id,
                "subject": subject,
                "statement": chain.first,
                "issued_at": now,
            },
        )
        self.state.add_link(LinkState(person, link_id, subject, token, list(statements)))
        return token

    # sealing

    def prepare(self, records: Iterable[SourceRecord], now: int) -> int:
        """Seal what linked people have not been sent yet into the outbox; answers the number of records.

        The same row of the same person is sent once. Records of people who are not linked stay where they are, as do
        those of people without a valid key: nobody can hold up what is sent to the others.
        """
        count = 0
        waiting = self._unsent(records)
        people = iter(sorted(waiting))
        while batch := list(islice(people, BATCH_PERSONS)):
            items, rows = [], []
            for person in batch:
                link = self.state.link_of(person)
                if link is None:
                    continue
                chain = follow(link.statements, link.subject)
                for name, found in sorted(waiting[person].items()):
                    try:
                        item, sealed = self._seal_item(link, chain, name, found, now)
                    except KeyStatementError as error:
                        if error.code == "key_statement_expired":
                            self._expired.add(link.link_id)
                        elif error.code != "no_epoch":
                            raise
                        continue
                    except MalformedError:  # the resident named a key that nothing can be sealed to: no records for it
                        continue
                    items.append(item)
                    rows += sealed
                    count += len(found)
            if items:
                self._enqueue(items, rows, now)
        return count

    def _unsent(self, records: Iterable[SourceRecord]) -> dict[str, dict[str, list[tuple[str, SourceRecord]]]]:
        found: dict[str, dict[str, list[tuple[str, SourceRecord]]]] = {}
        linked = self.state.linked_people()
        sent = self.state.sent_rows()
        for record in records:
            if record.person not in linked:
                continue
            name = self.state.row_name(record.person, record.collection, canonical(record.data))
            if name not in sent:
                sent.add(name)
                found.setdefault(record.person, {}).setdefault(record.collection, []).append((name, record))
        return found

    def _seal_item(
        self, link: LinkState, chain: KeyChain, name: str, found: list[tuple[str, SourceRecord]], now: int
    ) -> tuple[dict[str, Any], list[tuple[str, str, str, int]]]:
        """One slot with the records of one collection, and (row, link, collection, sequence) of each."""
        epoch = chain.epoch_for_sealing(name, now)
        place = SlotContext(random_id(), name, epoch.key_digest, self.source_id)
        slot_key = new_key()
        numbers = self.state.free_sequences(link.link_id, name)
        sealed_records, rows = [], []
        for sequence, (row, source_record) in zip(numbers, found, strict=False):
            record = Record(
                record_id=random_id(),
                collection=name,
                schema=schema_id(name),
                source_id=self.source_id,
                link_id=link.link_id,
                sequence=sequence,
                supersedes=None,
                issued_at=now,
                data=source_record.data,
            )
            payload = sign_record(self.key, record, place.epoch_key, canonical(source_record.data))
            sealed = seal_record(slot_key, record.record_id, place, payload)
            sealed_records.append({"record_id": record.record_id, "sealed": b64(sealed)})
            rows.append((row, link.link_id, name, sequence))
        item = {
            "link_id": link.link_id,
            "collection": name,
            "epoch_key": place.epoch_key,
            "slot_id": place.slot_id,
            "slot": b64(seal_slot(SealingKey(epoch.key), place, slot_key)),
            "records": sealed_records,
        }
        return item, rows

    def _enqueue(self, items: list[dict[str, Any]], rows: list[tuple[str, str, str, int]], now: int) -> None:
        number = self.state.next_number()
        cover = {
            "source_id": self.source_id,
            "delivery_id": random_id(),
            "number": number,
            "items": digest("delivery-items", canonical(items)),
            "issued_at": now,
        }
        self.state.enqueue(number, {"delivery": self.key.sign("delivery", cover), "items": items}, rows)

    # sending

    def send(self, now: int) -> Sent:
        """Deliver the outbox in order. What is refused counts as not sent: the next round seals it again."""
        token = self._token(now) if self._expired else ""
        for link_id in sorted(self._expired):
            self._refresh(link_id, token)
        self._expired.clear()
        accepted, refused = 0, dict[str, int]()
        for number, body in self.state.outbox():
            token = token or self._token(now)
            answer = call(self.http, "POST", "/v1/source/deliveries", body, token=token)
            again: list[str] = []
            for item, outcome in zip(body["items"], answer["items"], strict=True):
                if "refused" in outcome:
                    refused[outcome["refused"]] = refused.get(outcome["refused"], 0) + len(item["records"])
                    if outcome["refused"] == "retired_epoch":
                        self._refresh(item["link_id"], token)
                    again.append(item["slot_id"])
                else:
                    accepted += int(outcome["accepted"])
            self.state.delivered(
                number, [(item["link_id"], item["collection"]) for item in body["items"] if item["slot_id"] in again]
            )
        return Sent(accepted, refused)

    def _refresh(self, link_id: str, token: str) -> None:
        """Take the successors of the pinned chain; a chain that does not continue it is refused."""
        link = self.state.link_by_id(link_id)
        path = f"/v1/source/links/{link_id}/statements?after={len(link.statements)}"
        successors = [str(item) for item in call(self.http, "GET", path, token=token)["statements"]]
        try:
            follow([*link.statements, *successors], link.subject)
        except DataspaceError as error:
            sentence = "the service shows keys that do not continue the chain pinned here"
            raise KeyStatementError(sentence, code="substituted_epoch_key") from error
        self.state.set_statements(link_id, [*link.statements, *successors])

    def _token(self, now: int) -> str:
        claims = {
            "aud": self.audience,
            "role": "source",
            "sub": self.source_id,
            "jti": random_id(),
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
        }
        assertion = self.key.sign("assertion", claims)
        return str(call(self.http, "POST", "/v1/token", {"assertion": assertion})["token"])
