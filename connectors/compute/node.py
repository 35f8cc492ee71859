"""A compute node: attests, gets record keys, opens, computes, hands over to output control, and seals the answer.

It holds record keys and opened records only inside :meth:`Node.run`, and keeps neither. What leaves is a result that
passed output control, sealed to the operator, after the broker has recorded its release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.attestation import Evidence, Result, node_measurement, sealed_result_digest
from connectors.broker.client import BrokerClient
from connectors.broker.opening import record_keys_info
from connectors.compute import individual, output_control
from connectors.compute.answers import AnswerStore
from connectors.compute.errors import ComputationFailedError
from connectors.compute.output_control import Withheld
from connectors.compute.releases import ReleaseStore, Run, measured_fields
from connectors.compute.sandbox import SandboxPool
from connectors.compute.sql import check_select, tables_of
from connectors.messages import GrantCase, Job
from consent.asking import ListedProduct, verify_product, verify_request
from consent.model import Grant, UseRequest, grant_set
from dataspace.kernel.encoding import HEADER, b64, frame, parse_canonical, unb64
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.http import RefusedError
from dataspace.kernel.jws import SigningKey
from dataspace.kernel.signed import Verified, key_bytes
from dataspace.standard import collection, validate
from dataspace.standard.register import Source
from vault.envelope import SlotContext, open_record
from vault.records import Record, read_record
from vault.suite1 import OpeningKey, SealingKey, new_key

HOUR = 3600
_ENDED = {"withdrawn_grant", "grant_expired", "uses_exhausted"}
CIVIL_TIME = timedelta(hours=8)
_TYPES = {"integer": "integer", "string": "string", "boolean": "boolean"}


@dataclass(frozen=True)
class RunKeys:
    """Made for one run, named in its evidence, gone after it."""

    opening: OpeningKey
    signing: SigningKey


class Node:
    """One node with its attestation key and its own stores."""

    def __init__(
        self,
        attestation_key: SigningKey,
        broker: BrokerClient,
        registrar: bytes,
        policy_digest: str,
        anchors_digest: str,
        pool: SandboxPool,
        releases: ReleaseStore,
        answers: AnswerStore,
    ) -> None:
        self.attestation_key = attestation_key
        self.broker = broker
        self.registrar = registrar
        self.policy_digest = policy_digest
        self.anchors_digest = anchors_digest
        self.pool = pool
        self.releases = releases
        self.answers = answers

    def run(self, job: Job, now: int) -> dict[str, str]:
        """``{"sealed", "ear", "release"}``; raises with a stable code when anything does not hold."""
        papers = job.papers
        listed = verify_product(papers.licence, papers.product, papers.listing, self.registrar)
        request = verify_request(listed, job.request)
        made = self.answers.find(request.digest)
        if made is None:
            made = self._make(job, listed, request, now)
        release = self._release(request.digest, made)
        if made["proposal"]:
            self.releases.commit(made["proposal"])
        return {"sealed": made["sealed"], "ear": made["ear"], "release": release}

    def _release(self, request_digest: str, made: dict[str, Any]) -> str:
        """The broker's release. Where a grant has ended meanwhile nothing leaves, and what was made is forgotten."""
        try:
            return self.broker.release(request_digest, made["result_digest"], made["node"])
        except RefusedError as error:
            if error.code in _ENDED:
                if made["proposal"] == made["run_id"]:
                    self.releases.abandon(made["proposal"])
                self.answers.drop(request_digest)
            raise

    def _make(self, job: Job, listed: ListedProduct, request: Verified[UseRequest], now: int) -> dict[str, Any]:
        """Open, compute, control, seal; durable before anything leaves."""
        keys = RunKeys(OpeningKey(new_key()), SigningKey(new_key()))
        nonce = self.broker.challenge()
        evidence = self._evidence(job, request, keys, nonce, now)
        opened = self.broker.open(_opening(job, evidence))
        names = [record.record_id for grant in job.grants for record in grant.records]
        info = record_keys_info(job.run_id, request.digest, nonce, names)
        record_keys = _split(keys.opening.open(info, unb64(opened["keys"])), len(names))
        people = self._open_all(job, dict(zip(names, record_keys, strict=True)))
        content, proposal = self._compute(job, listed, request, people, now)
        result = Result(
            run_id=job.run_id,
            request_digest=request.digest,
            product_digest=listed.product.digest,
            kind=listed.product.content.kind,
            produced_at=now - now % HOUR,
            **content,
        ).sign(keys.signing)
        info = frame("result", HEADER, job.run_id, request.digest)
        sealed = SealingKey(key_bytes(request.content.result_key, 1216)).seal(info, result.encode("ascii"))
        made = {
            "sealed": b64(sealed),
            "result_digest": sealed_result_digest(sealed),
            "ear": opened["ear"],
            "node": keys.signing.kid,
            "proposal": proposal,
            "run_id": job.run_id,
        }
        self.answers.put(request.digest, made)
        return made

    def _evidence(self, job: Job, request: Verified[UseRequest], keys: RunKeys, nonce: str, now: int) -> str:
        digests = [Grant.claimed(grant.papers.grant).grant.digest() for grant in job.grants]
        evidence = Evidence(
            kind="sw-dev",
            nonce=nonce,
            run_id=job.run_id,
            hpke_key=b64(keys.opening.public),
            sign_key=b64(keys.signing.public),
            request_digest=request.digest,
            grant_set=grant_set(digests),
            policy_digest=self.policy_digest,
            anchors_digest=self.anchors_digest,
            measurement=node_measurement(),
            isolation=self.pool.isolation,
            issued_at=now,
        )
        return evidence.sign(self.attestation_key)

    def _open_all(self, job: Job, keys: Mapping[str, bytes]) -> list[dict[str, list[Record]]]:
        """Each resident's records by collection; a record that does not hold together ends the run."""
        sources = {}
        for token in job.sources:
            source = Source.verify(token, self.registrar)
            sources[source.source_id] = source
        return [_open_person(grant, keys, sources) for grant in job.grants]

    def _compute(
        self,
        job: Job,
        listed: ListedProduct,
        request: Verified[UseRequest],
        people: list[dict[str, list[Record]]],
        now: int,
    ) -> tuple[dict[str, Any], str | None]:
        """(answer or table of the result, release proposal to commit)."""
        manifest = listed.product.content.payload()
        if listed.product.content.kind == "individual":
            as_of = (datetime.fromtimestamp(now, UTC) + CIVIL_TIME).date().isoformat()
            said = individual.answer(manifest, people[0], as_of)
            return {"answer": said.payload(), "table": None}, None
        types = {
            item.collection: {field.name: _TYPES[field.type] for field in collection(item.collection).fields}
            for item in listed.product.content.inputs
        }
        tables = tables_of(manifest, people, types)
        text = listed.product.content.computation.text
        check_select(text, {name: table.columns for name, table in tables.items()})
        rows = self.pool.run(text, tables)
        named = self._contributors(manifest, people)
        measured = [{**row, "person": named[row["person"]]} for row in rows if row["person"] in named]
        run = Run(
            run_id=job.run_id,
            product_digest=listed.product.digest,
            period="all",
            grant_set=grant_set([Grant.claimed(grant.papers.grant).grant.digest() for grant in job.grants]),
            fields=measured_fields(manifest),
        )
        outcome = self.releases.propose(
            run, lambda earlier: output_control.release(measured, manifest["output"], earlier)
        )
        if isinstance(outcome, Withheld):
            raise ComputationFailedError("output control withholds the result", code=outcome.reasons[0])
        return {"answer": None, "table": parse_canonical(outcome.table)}, outcome.run_id

    def _contributors(self, manifest: Mapping[str, Any], people: list[dict[str, list[Record]]]) -> dict[object, str]:
        """Opaque name of each person with data of what is measured: over that collection's first source link."""
        measured = sorted({field.partition(".")[0] for field in measured_fields(manifest)})[0]
        named: dict[object, str] = {}
        for person, held in enumerate(people):
            links = sorted({f"{record.source_id}/{record.link_id}" for record in held.get(measured, [])})
            if links:
                named[person] = self.releases.contributor(links[0])
        return named


def _open_person(grant: GrantCase, keys: Mapping[str, bytes], sources: Mapping[str, Source]) -> dict[str, list[Record]]:
    terms = Grant.claimed(grant.papers.grant).grant
    scopes = {scope.collection: scope for scope in terms.scope}
    found: dict[str, list[Record]] = {}
    for ref in grant.records:
        source = sources.get(ref.source_id)
        if source is None or ref.collection not in source.collections:
            raise ComputationFailedError("a record's source is not registered for it", code="unknown_source")
        place = SlotContext(ref.slot_id, ref.collection, scopes[ref.collection].epoch_key, ref.source_id)
        payload = open_record(keys[ref.record_id], ref.record_id, place, unb64(ref.sealed))
        record = read_record(payload, ref.record_id, place, key_bytes(source.key))
        try:
            validate(record.collection, record.data)
        except DataspaceError:
            continue  # a source's broken record is missing, and neither stops the others nor counts
        found.setdefault(ref.collection, []).append(record)
    return found


def _opening(job: Job, evidence: str) -> dict[str, Any]:
    """The case as the broker gets it: everything but the sealed records."""
    return {
        "run_id": job.run_id,
        "papers": job.papers.model_dump(),
        "request": job.request,
        "evidence": evidence,
        "checkpoint": job.checkpoint,
        "decision": job.decision,
        "grants": [
            {
                "papers": grant.papers.model_dump(),
                "entry": grant.entry,
                "records": [record.reference() for record in grant.records],
            }
            for grant in job.grants
        ],
    }


def _split(block: bytes, count: int) -> list[bytes]:
    if len(block) != 32 * count:
        raise ComputationFailedError("the broker gave another number of keys", code="record_keys_mismatch")
    return [block[start : start + 32] for start in range(0, len(block), 32)]
