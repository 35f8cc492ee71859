"""The broker's acts. Each checks everything itself, from signatures, the log and its own store, and commits once.

Order inside :meth:`Broker.open` (DESIGN section 5, promise 2): evidence and nonce; papers of product and request;
the log's decision; for every grant its signature, state, coverage and log entry; then Rego over those verified facts
(which can only narrow); then uses and meters are written; only then are keys opened, and only record keys leave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from connectors import messages
from connectors.attestation import Ear, EvidenceRefusedError, Release
from connectors.broker.appraise import Expected, appraise, read_evidence
from connectors.broker.checks import (
    CheckedGrant,
    check_decision,
    check_grant,
    check_statements,
    check_use_entry,
    verified_by_any,
)
from connectors.broker.desk import Desk, claimed_subject
from connectors.broker.errors import BrokerRefusedError, LogPositionError
from connectors.broker.opening import record_keys, seal_record_keys
from connectors.broker.pins import Pins
from connectors.broker.store import BrokerStore
from consent.asking import ListedProduct, verify_product, verify_request
from consent.decide import Facts, NodeFacts, Outcome, decide
from consent.engine.port import PolicyEngine
from consent.facts import grant_facts, licence_facts, product_facts, request_facts
from consent.meter import PERIOD_SECONDS, elements, millibits
from consent.model import Grant, GrantKey, GrantState, GrantTermsSigned, SubjectHead, UseRequest, Withdrawal, grant_set
from dataspace.kernel.encoding import b64, unb64
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.ids import random_id
from dataspace.kernel.jws import SigningKey, fingerprint
from dataspace.kernel.merkle import verify_consistency
from dataspace.kernel.note import Checkpoint
from dataspace.kernel.signed import Verified, key_bytes
from vault.statements import KeyChain
from vault.suite1 import OpeningKey, new_key

NONCE_SECONDS = 60
ANSWER_SECONDS = 30 * 86_400
HOUR = 3600
_ENDED = {"destroyed": "withdrawn_grant", "expired": "grant_expired", "used_up": "uses_exhausted"}
"""Why the key of a grant in this state no longer exists."""

Consistency = Callable[[int, int], Sequence[str]]
"""Fetches the consistency proof between two sizes from the log; what it returns is verified, not believed."""


@dataclass(frozen=True)
class Opened:
    """What a node gets: the attestation result, and the record keys sealed to its attested key."""

    ear: str
    keys: str


class Broker:
    """One broker over one store. ``key`` signs its statements and attestation results."""

    def __init__(
        self,
        store: BrokerStore,
        broker_id: str,
        key: SigningKey,
        pins: Pins,
        engine: PolicyEngine,
        policy_digest: str,
        consistency: Consistency,
    ) -> None:
        self.store = store
        self.broker_id = broker_id
        self.key = key
        self.pins = pins
        self.engine = engine
        self.policy_digest = policy_digest
        self.consistency = consistency

    # keys for questions

    def grant_keys(self, order: messages.KeyOrder, now: int) -> list[str]:
        """Fresh signed keys, one for each resident who will be shown this request."""
        listed, request = self._papers(order.papers, order.request)
        if not listed.licence.content.valid_at(now):
            raise BrokerRefusedError("the operator's licence is not valid now", code="expired_licence")
        if now >= request.content.not_after:
            raise BrokerRefusedError("the request has expired", code="request_expired")
        not_after = min(request.content.not_after, now + ANSWER_SECONDS)
        signed: list[str] = []
        rows: list[dict[str, Any]] = []
        for _ in range(order.count):
            seed = new_key()
            name = random_id()
            statement = GrantKey(
                broker_id=self.broker_id,
                key_id=name,
                key=b64(OpeningKey(seed).public),
                request_digest=request.digest,
                not_after=not_after,
            )
            signed.append(statement.sign(self.key))
            rows.append({"key_id": name, "seed": seed, "request_digest": request.digest, "not_after": not_after})
        self.tidy(now)
        with self.store.database.write() as session:
            self.store.add_keys(session, [{**row, "grant_digest": None} for row in rows])
        return signed

    # grants

    def register(self, batch: messages.GrantRegistrations, now: int) -> list[dict[str, str]]:
        """Take grants that stand in the log; each answers with the broker's signed state or the code of its refusal."""
        checkpoint = self._checkpoint(batch.checkpoint)
        answers: list[dict[str, str]] = []
        with self.store.database.write() as session:
            desk = Desk.open(self.store, session, batch, checkpoint)
            for item in batch.grants:
                try:
                    digest = self._register_one(desk, item, now)
                    answers.append({"state": GrantState(grant_digest=digest, state="active", at=now).sign(self.key)})
                except DataspaceError as error:
                    answers.append({"refused": error.code})
            desk.close(self.store, session)
        if desk.destroyed:
            self.store.forget_pages()
        return answers

    def _register_one(self, desk: Desk, item: messages.GrantRegistration, now: int) -> str:
        subject = claimed_subject(item.papers.grant)
        chain = check_statements(item.statements, subject, desk.subjects)
        grant = check_grant(item.papers, chain.signing_key)
        terms = grant.terms
        listed, request = self._papers_at(desk, terms)
        grant.check_answers(listed, request.content)
        grant.check_epochs(chain)
        entry = check_use_entry(item.entry, desk.checkpoint, desk.subjects, terms.subject)
        entry.require(kind="grant.recorded", grant_digest=grant.digest)
        key = desk.keys.get(terms.broker_key)
        if key is None or key["request_digest"] != terms.request_digest:
            raise BrokerRefusedError("this broker made no such key for that request", code="substituted_broker_key")
        if key["grant_digest"] == grant.digest:
            return _registered_again(desk, grant.digest)
        if key["grant_digest"] is not None or key["seed"] is None or now >= key["not_after"]:
            raise BrokerRefusedError("the key has been used or its time is over", code="grant_key_spent")
        _refuse_withdrawn(desk, grant, chain)
        desk.take(grant, chain, entry, now)
        return grant.digest

    def _papers_at(self, desk: Desk, terms: GrantTermsSigned) -> tuple[ListedProduct, Verified[UseRequest]]:
        if terms.request_digest not in desk.papers:
            product = desk.batch.products.get(terms.product_digest)
            asked = desk.batch.requests.get(terms.request_digest)
            if product is None or asked is None:
                raise BrokerRefusedError("the papers of the grant are missing", code="papers_missing")
            desk.papers[terms.request_digest] = self._papers(product, asked)
        return desk.papers[terms.request_digest]

    def withdraw(self, batch: messages.Withdrawals, now: int) -> list[dict[str, str]]:
        """Destroy the keys of withdrawn grants. Needs only the resident's signature: it can only take away."""
        answers: list[dict[str, str]] = []
        with self.store.database.write() as session:
            for token in batch.withdrawals:
                try:
                    state = self._withdraw_one(session, token, now)
                    answers.append({"state": state} if state else {"refused": "grant_unknown"})
                except DataspaceError as error:
                    answers.append({"refused": error.code})
        self.store.forget_pages()
        return answers

    def _withdraw_one(self, session: Session, token: str, now: int) -> str | None:
        """The signed word that the key is gone; None for a grant that is not here, whose signer is not known either."""
        claimed = Withdrawal.claimed(token)
        grant = self.store.grants(session, [claimed.grant_digest]).get(claimed.grant_digest)
        if grant is None:
            self.store.note_withdrawal(session, claimed.grant_digest, token)
            return None
        subject = self.store.subjects(session, [grant["subject"]])[grant["subject"]]
        verified_by_any(token, Withdrawal.typ, (subject["signing_key"], grant["signing_key"]))
        if claimed.subject != grant["subject"]:
            raise BrokerRefusedError("the grant is another resident's", code="grant_unknown")
        if grant["state"] == "active":
            self.store.destroy_key(session, grant["key_id"])
            self.store.put_grants(session, [{**grant, "state": "destroyed", "changed_at": now}])
        return GrantState(grant_digest=claimed.grant_digest, state="destroyed", at=now).sign(self.key)

    def subject_head(self, subject: str, now: int) -> str:
        """The newest log entry about this resident that the broker has acted on, signed."""
        with self.store.database.read() as session:
            row = self.store.subjects(session, [subject]).get(subject)
        number, entry = (row["entry_number"], row["entry"]) if row else (0, None)
        return SubjectHead(subject=subject, number=number, entry=entry, at=now).sign(self.key)

    # runs

    def challenge(self, now: int) -> str:
        """A single-use nonce for evidence, good for a minute."""
        nonce = random_id()
        with self.store.database.write() as session:
            self.store.add_nonce(session, nonce, now + NONCE_SECONDS, now)
        return nonce

    def open(self, opening: messages.Opening, now: int) -> Opened:
        """Record keys for an attested node, or a refusal and nothing opened."""
        evidence = read_evidence(opening.evidence, self.pins, now)
        with self.store.database.write() as session:
            fresh = self.store.spend_nonce(session, evidence.nonce, now)
        if not fresh:
            raise EvidenceRefusedError("the nonce was used before, has expired or was never given", code="stale_nonce")
        listed, request = self._papers(opening.papers, opening.request)
        checkpoint = self._checkpoint(opening.checkpoint)
        with self.store.database.write() as session:
            grants = self._checked_grants(session, opening, listed, request, checkpoint)
            expected = Expected(
                opening.run_id, request.digest, grant_set([g.digest for g in grants]), self.policy_digest
            )
            check_decision(opening.decision, checkpoint, expected)
            ear, signed_ear = appraise(evidence, expected, self.pins, self.key, now)
            self._decide(session, listed, request, grants, ear, now)
            self._reserve(session, listed, request, grants, opening.run_id, ear, now)
            seeds = self.store.keys(session, [g.terms.broker_key for g in grants])
        names, keys = record_keys(grants, {name: row["seed"] for name, row in seeds.items()})
        sealed = seal_record_keys(ear, names, keys)
        return Opened(signed_ear, b64(sealed))

    def _checked_grants(
        self,
        session: Session,
        opening: messages.Opening,
        listed: ListedProduct,
        request: Verified[UseRequest],
        checkpoint: Checkpoint,
    ) -> list[CheckedGrant]:
        claimed = [claimed_subject(use.papers.grant) for use in opening.grants]
        subjects = self.store.subjects(session, claimed)
        checked = []
        for use, subject in zip(opening.grants, claimed, strict=True):
            if subject not in subjects:
                raise BrokerRefusedError("no grant of this resident is registered here", code="grant_pending")
            checked.append(check_grant(use.papers, None, use.records))
        rows = self.store.grants(session, [grant.digest for grant in checked])
        if len({grant.digest for grant in checked}) != len(checked):
            raise BrokerRefusedError("a grant is named twice")
        for use, grant in zip(opening.grants, checked, strict=True):
            row = rows.get(grant.digest)
            signers = (row or {}).get("signing_key"), subjects[grant.terms.subject]["signing_key"]
            verified_by_any(grant.token, Grant.typ, [key for key in signers if key])
            if row is None:
                raise BrokerRefusedError("the grant is not registered here", code="grant_pending")
            if row["state"] != "active":
                raise BrokerRefusedError("a grant is no longer active", code=_ENDED[row["state"]])
            grant.check_answers(listed, request.content)
            entry = check_use_entry(use.entry, checkpoint, subjects, grant.terms.subject)
            entry.require(
                kind="use.decided",
                grant_digest=grant.digest,
                request_digest=request.digest,
                run_id=opening.run_id,
                outcome="allow",
            )
            grant.entry = entry
        return checked

    def _decide(
        self,
        session: Session,
        listed: ListedProduct,
        request: Verified[UseRequest],
        grants: list[CheckedGrant],
        ear: Ear,
        now: int,
    ) -> None:
        product = listed.product.content
        uses = self.store.uses(session, [grant.digest for grant in grants], request.digest)
        spent: dict[str, dict[str, int]] = {}
        if product.kind == "individual":
            subjects = [grant.terms.subject for grant in grants]
            spent = self.store.spent(session, subjects, product.operator_id, now - PERIOD_SECONDS, request.digest)
        facts = Facts(
            now=now,
            environment=self.pins.environment,
            request=request_facts(request),
            licence=licence_facts(listed.licence, status="active"),
            product=product_facts(listed, status="listed"),
            node=NodeFacts(node_class=ear.node_class, accepted_classes=self.pins.accepted_node_classes),
            grants=tuple(
                grant_facts(
                    grant.digest,
                    grant.terms,
                    state="active",
                    uses=uses.get(grant.digest, 0),
                    listed=listed,
                    spent_millibits=spent.get(grant.terms.subject, {}),
                )
                for grant in grants
            ),
        )
        decision = decide(self.engine, facts)
        if decision.outcome is not Outcome.ALLOW:
            reasons = list(decision.reasons) or [r for g in decision.grants.values() for r in g.reasons]
            raise BrokerRefusedError("the policy denies", code=reasons[0] if reasons else "default_deny")
        for digest, one in decision.grants.items():
            if one.outcome is not Outcome.ALLOW:
                raise BrokerRefusedError("the policy denies a grant", code=one.reasons[0], grant=digest)

    def _reserve(
        self,
        session: Session,
        listed: ListedProduct,
        request: Verified[UseRequest],
        grants: list[CheckedGrant],
        run_id: str,
        ear: Ear,
        now: int,
    ) -> None:
        earlier = self.store.run(session, request.digest)
        if earlier is not None and earlier["release"] is not None:
            raise BrokerRefusedError("this request has its answer", code="already_released")
        digests = [grant.digest for grant in grants]
        self.store.add_uses(session, digests, request.digest, now)
        bits = millibits(listed.product.content)
        self.store.add_meter(
            session,
            [
                {
                    "subject": grant.terms.subject,
                    "operator_id": grant.terms.recipient,
                    "element": element,
                    "request_digest": request.digest,
                    "millibits": bits,
                    "at": now,
                }
                for grant in grants
                for element in elements(listed.product.content)
                if bits
            ],
        )
        self.store.put_subjects(session, [grant.entry.subject_row() for grant in grants if grant.entry])
        run = {
            "request_digest": request.digest,
            "run_id": run_id,
            "grant_set": grant_set(digests),
            "node": fingerprint(key_bytes(ear.node_sign_key)),
            "result_digest": None,
            "release": None,
        }
        self.store.put_run(session, run, digests)

    def release(self, order: messages.ReleaseOrder, now: int) -> str:
        """Record that this result leaves, under the lock in which all its grants are still active (promise 5)."""
        with self.store.database.write() as session:
            run = self.store.run(session, order.request_digest)
            if run is None or run["node"] != order.node:
                raise BrokerRefusedError("no run of this node was opened for that request", code="run_unknown")
            if run["release"] is not None:
                if run["result_digest"] != order.result_digest:
                    raise BrokerRefusedError("this request has another answer", code="already_released")
                return str(run["release"])
            if ended := self.store.inactive_states(session, order.request_digest):
                raise BrokerRefusedError("a grant ended during the run", code=_ENDED[ended[0]])
            release = Release(
                run_id=run["run_id"],
                request_digest=order.request_digest,
                result_digest=order.result_digest,
                grant_set=run["grant_set"],
                node=order.node,
                released_at=now - now % HOUR,
            ).sign(self.key)
            self.store.record_release(session, order.request_digest, order.result_digest, release)
            destroyed = self.store.end_used_up(session, order.request_digest, now)
        if destroyed:
            self.store.forget_pages()
        return release

    def tidy(self, now: int) -> int:
        """Destroy what has ended by time; answers how many keys. Run often: it is what makes an end date true."""
        with self.store.database.write() as session:
            destroyed = self.store.destroy_expired(session, now)
        if destroyed:
            self.store.forget_pages()
        return destroyed

    # shared steps

    def _papers(self, papers: messages.ProductPapers, request: str) -> tuple[ListedProduct, Verified[UseRequest]]:
        listed = verify_product(papers.licence, papers.product, papers.listing, self.pins.registrar)
        return listed, verify_request(listed, request)

    def _checkpoint(self, text: str) -> Checkpoint:
        """A checkpoint that continues everything this broker has seen of the log, remembered before it is used."""
        shown = self.pins.checkpoint(text)
        with self.store.database.read() as session:
            seen = self.store.tree(session, shown.origin)
        if seen is None:
            seen = (0, b"")
        size, root = seen
        if size and size != shown.size:
            old, new = (
                ((size, root), (shown.size, shown.root))
                if size < shown.size
                else ((shown.size, shown.root), (size, root))
            )
            proof = [unb64(item, size=32) for item in self.consistency(old[0], new[0])]
            verify_consistency(old[0], new[0], proof, old[1], new[1])
        elif size and root != shown.root:
            raise LogPositionError("two trees of the same size differ: the log has been forked")
        if shown.size > size:
            with self.store.database.write() as session:
                latest = self.store.tree(session, shown.origin)
                if latest is None or latest[0] < shown.size:
                    self.store.put_tree(session, shown.origin, shown.size, shown.root)
        return shown


def _registered_again(desk: Desk, digest: str) -> str:
    state = desk.grants[digest]["state"]
    if state != "active":
        raise BrokerRefusedError("the grant is no longer active", code=_ENDED[state])
    return digest


def _refuse_withdrawn(desk: Desk, grant: CheckedGrant, chain: KeyChain) -> None:
    """A grant whose withdrawal has arrived before it; nobody but the resident can have signed that."""
    for noted in desk.withdrawals.get(grant.digest, ()):
        try:
            Withdrawal.verify(noted, chain.signing_key)
        except DataspaceError:
            continue  # not the resident's: worth nothing
        desk.destroyed.append(grant.terms.broker_key)
        raise BrokerRefusedError("the grant was withdrawn before it arrived", code="withdrawn_grant")
