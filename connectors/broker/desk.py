"""What the broker needs to register one batch of grants: read together, changed in memory, written together."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session

from connectors import messages
from connectors.broker.checks import CheckedGrant, UseEntry
from connectors.broker.store import BrokerStore
from consent.asking import ListedProduct
from consent.model import Grant, UseRequest
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.note import Checkpoint
from dataspace.kernel.signed import Verified
from vault.statements import KeyChain


@dataclass
class Desk:
    """Rows of the store by name, as they stand after each grant that has been taken."""

    batch: messages.GrantRegistrations
    checkpoint: Checkpoint
    subjects: dict[str, Mapping[str, Any]]
    keys: dict[str, Mapping[str, Any]]
    grants: dict[str, Mapping[str, Any]]
    withdrawals: dict[str, list[str]]
    papers: dict[str, tuple[ListedProduct, Verified[UseRequest]]] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    destroyed: list[str] = field(default_factory=list)
    """Key ids that must not live on."""

    @classmethod
    def open(
        cls, store: BrokerStore, session: Session, batch: messages.GrantRegistrations, checkpoint: Checkpoint
    ) -> Desk:
        """Everything known about what the batch names; what cannot be read is refused later, item by item."""
        claimed = []
        for item in batch.grants:
            with suppress(DataspaceError):
                claimed.append(Grant.claimed(item.papers.grant).grant)
        digests = [terms.digest() for terms in claimed]
        return cls(
            batch=batch,
            checkpoint=checkpoint,
            subjects=store.subjects(session, [terms.subject for terms in claimed]),
            keys=store.keys(session, [terms.broker_key for terms in claimed]),
            grants=store.grants(session, digests),
            withdrawals=store.noted_withdrawals(session, digests),
        )

    def take(self, grant: CheckedGrant, chain: KeyChain, entry: UseEntry, now: int) -> None:
        """The grant is active from the end of this batch on."""
        terms = grant.terms
        self.keys[terms.broker_key] = {**self.keys[terms.broker_key], "grant_digest": grant.digest}
        self.grants[grant.digest] = {
            "grant_digest": grant.digest,
            "key_id": terms.broker_key,
            "subject": terms.subject,
            "signing_key": chain.signing_key,
            "state": "active",
            "not_after": terms.not_after,
            "uses": terms.uses,
            "changed_at": now,
        }
        self.subjects[terms.subject] = entry.subject_row(chain)
        self.taken.append(grant.digest)

    def close(self, store: BrokerStore, session: Session) -> None:
        """Write what was taken."""
        rows = [dict(self.grants[digest]) for digest in self.taken]
        store.bind_keys(session, {row["key_id"]: row["grant_digest"] for row in rows})
        store.put_grants(session, rows)
        store.put_subjects(session, [dict(self.subjects[name]) for name in {row["subject"] for row in rows}])
        for key_id in self.destroyed:
            store.destroy_key(session, key_id)


def claimed_subject(grant: str) -> str:
    """The resident that a grant names, before its signature is verified."""
    return Grant.claimed(grant).grant.subject
