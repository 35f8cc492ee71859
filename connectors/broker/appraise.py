"""The verifier (RFC 9334): appraises evidence against reference values and expectations, and writes the EAR."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.attestation import (
    EAR_SECONDS,
    EVIDENCE_SECONDS,
    Ear,
    Evidence,
    EvidenceRefusedError,
    node_measurement,
)
from connectors.broker.pins import Pins
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.jws import SigningKey, parse
from dataspace.kernel.signed import key_bytes

_CLASS_OF_KIND = {"sw-dev": "sw-dev"}
_VECTORS = {"sw-dev": {"instance-identity": 2, "configuration": 2, "executables": 2, "hardware": 0}}
"""AR4SI trust claims: 2 affirms, 0 makes no claim. A software key says nothing about hardware."""


@dataclass(frozen=True)
class Expected:
    """What the evidence has to be about."""

    run_id: str
    request_digest: str
    grant_set: str
    policy_digest: str


def read_evidence(token: str, pins: Pins, now: int) -> Evidence:
    """Evidence signed by a registered anchor; anything else is refused."""
    claimed = parse(token)
    for anchor in pins.anchor_keys(now).values():
        try:
            return Evidence.verify(token, key_bytes(anchor.key))
        except DataspaceError:
            continue
    raise EvidenceRefusedError(f"no registered anchor vouches for {claimed.kid}", code="unknown_attester")


def appraise(evidence: Evidence, expected: Expected, pins: Pins, verifier: SigningKey, now: int) -> tuple[Ear, str]:
    """(EAR, its signed form); raises with the claim that failed. The nonce has been spent by the caller."""
    checks = (
        (abs(now - evidence.issued_at) <= EVIDENCE_SECONDS, "stale_evidence"),
        (evidence.run_id == expected.run_id, "evidence_run_mismatch"),
        (evidence.request_digest == expected.request_digest, "evidence_request_mismatch"),
        (evidence.grant_set == expected.grant_set, "evidence_grants_mismatch"),
        (evidence.policy_digest == expected.policy_digest, "evidence_policy_mismatch"),
        (evidence.anchors_digest == pins.digest(), "evidence_anchors_mismatch"),
        (evidence.measurement == node_measurement(), "evidence_measurement_unknown"),
        (evidence.isolation == "bwrap+seccomp" or pins.environment == "development", "isolation_too_weak"),
    )
    for holds, code in checks:
        if not holds:
            raise EvidenceRefusedError("the node's evidence does not hold", code=code)
    ear = Ear(
        profile="tag:github.com,2023:veraison/ear",
        status="affirming",
        vector=_VECTORS[evidence.kind],
        kind=evidence.kind,
        node_class=_CLASS_OF_KIND[evidence.kind],
        isolation=evidence.isolation,
        node_sign_key=evidence.sign_key,
        node_hpke_key=evidence.hpke_key,
        nonce=evidence.nonce,
        run_id=evidence.run_id,
        request_digest=evidence.request_digest,
        grant_set=evidence.grant_set,
        policy_digest=evidence.policy_digest,
        issued_at=now,
        not_after=now + EAR_SECONDS,
    )
    return ear, ear.sign(verifier)
