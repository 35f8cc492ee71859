"""The broker's checks of one grant, one key chain, one log entry: values in, verified value out, or a refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from connectors.broker.appraise import Expected
from connectors.broker.errors import BrokerRefusedError
from connectors.messages import GrantPapers, RecordRef
from consent.asking import ListedProduct, check_grant_answers, check_grant_shape
from consent.model import Grant, GrantTermsSigned, UseRequest
from dataspace.kernel.encoding import digest, unb64
from dataspace.kernel.errors import DataspaceError, SignatureInvalidError
from dataspace.kernel.jws import parse, verify
from dataspace.kernel.logproof import VerifiedEntry, open_entry
from dataspace.kernel.note import Checkpoint
from vault.statements import KeyChain, follow


@dataclass(frozen=True)
class UseEntry:
    """A log entry about a resident, proven to stand in the log and to be newer than what the broker has acted on."""

    entry: VerifiedEntry
    subject: Mapping[str, Any]

    def require(self, **expected: object) -> None:
        """Refuse unless the entry says exactly this."""
        for name, value in expected.items():
            if self.entry.body.get(name) != value:
                raise BrokerRefusedError(f"the log entry is about another {name}", code="log_entry_mismatch")

    def subject_row(self, chain: KeyChain | None = None) -> dict[str, Any]:
        """What the broker keeps about the resident from now on."""
        row = dict(self.subject)
        if chain is not None:
            row |= {
                "subject": chain.subject,
                "number": chain.number,
                "head": chain.head,
                "signing_key": chain.signing_key,
            }
        return row | {"entry_number": self.entry.body["number"], "entry": self.entry.leaf_hash}


@dataclass
class CheckedGrant:
    """A grant whose parts belong together; its signature is verified where the signer's key is known."""

    token: str
    content: Grant
    sealed: list[bytes]
    records: Sequence[RecordRef] = ()
    entry: UseEntry | None = field(default=None)

    @property
    def terms(self) -> GrantTermsSigned:
        return self.content.grant

    @cached_property
    def digest(self) -> str:
        return self.content.grant.digest()

    def check_answers(self, listed: ListedProduct, request: UseRequest) -> None:
        """The grant covers this request; a one-time grant covers only the request it was given for."""
        check_grant_answers(self.terms, listed, request)
        if self.terms.mode == "one_time" and self.terms.request_digest != request.digest():
            raise BrokerRefusedError(
                "a one-time grant is for the request that was shown", code="grant_for_other_request"
            )

    def check_epochs(self, chain: KeyChain) -> None:
        """Every key of the grant is of a current epoch of the resident's own chain."""
        for scope in self.terms.scope:
            epoch = chain.epochs.get(scope.collection)
            if epoch is None or (epoch.epoch, epoch.key_digest) != (scope.epoch, scope.epoch_key):
                raise BrokerRefusedError("the grant names another epoch key", code="substituted_epoch_key")


def check_grant(papers: GrantPapers, signing_key: bytes | None, records: Sequence[RecordRef] = ()) -> CheckedGrant:
    """A grant with exactly the sealed keys it signs, and records within its scope."""
    content = Grant.claimed(papers.grant) if signing_key is None else Grant.verify(papers.grant, signing_key)
    sealed = [unb64(item) for item in papers.sealed]
    check_grant_shape(content, sealed)
    for record in records:
        scope = next((s for s in content.grant.scope if s.collection == record.collection), None)
        if scope is None or (content.grant.mode == "one_time" and record.slot_id not in scope.slots):
            raise BrokerRefusedError("a record lies outside the grant", code="record_outside_grant")
    return CheckedGrant(papers.grant, content, sealed, records)


def check_statements(statements: Sequence[str], subject: str, known: Mapping[str, Mapping[str, Any]]) -> KeyChain:
    """The resident's key chain, from its first statement on; never shorter than or different from the one known."""
    chain = follow(list(statements), subject)
    seen = known.get(subject)
    if seen is not None:
        if chain.number < seen["number"]:
            raise BrokerRefusedError("an older key statement than the one known here", code="key_statement_rolled_back")
        at_seen = digest("key-statement", parse(statements[seen["number"] - 1]).payload_bytes)
        if at_seen != seen["head"]:
            raise BrokerRefusedError("another chain of key statements than the one known", code="substituted_epoch_key")
    return chain


def check_use_entry(
    bundle: Mapping[str, Any], checkpoint: Checkpoint, known: Mapping[str, Mapping[str, Any]], subject: str
) -> UseEntry:
    """An entry about ``subject`` under ``checkpoint``, newer than every entry acted on before."""
    entry = open_entry(bundle, checkpoint)
    row = known.get(subject, {})
    if entry.body.get("subject") != subject:
        raise BrokerRefusedError("the log entry is about another resident", code="log_entry_mismatch")
    if entry.body["number"] < row.get("entry_number", 0) or (
        entry.body["number"] == row.get("entry_number") and entry.leaf_hash != row.get("entry")
    ):
        raise BrokerRefusedError("the log entry is older than one acted on before", code="log_entry_rolled_back")
    return UseEntry(entry, row)


def check_decision(bundle: Mapping[str, Any], checkpoint: Checkpoint, expected: Expected) -> None:
    """The service's decision to allow this run stands in the log, for exactly these grants and this policy."""
    body = open_entry(bundle, checkpoint).body
    wanted = {
        "kind": "run.decided",
        "run_id": expected.run_id,
        "request_digest": expected.request_digest,
        "grant_set": expected.grant_set,
        "policy_digest": expected.policy_digest,
        "outcome": "allow",
    }
    for name, value in wanted.items():
        if body.get(name) != value:
            raise BrokerRefusedError(f"the logged decision has another {name}", code="log_entry_mismatch")


def verified_by_any(token: str, typ: str, keys: Sequence[bytes]) -> None:
    """Signed by the resident's present key, or by the one the grant was signed with."""
    failure: DataspaceError = SignatureInvalidError("there is no key to verify with")
    for key in keys:
        try:
            verify(token, typ, key)
        except DataspaceError as error:
            failure = error
        else:
            return
    raise failure
