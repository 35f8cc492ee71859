"""RATS (RFC 9334) for compute nodes: evidence that a node signs, and the EAR that a verifier makes of it.

Evidence binds the broker's single-use nonce, the node's keys for this run, the request, the exact set of grants, and
the policy and trust anchors the node believes in. ``sw-dev`` evidence is signed by a software key: it goes
through the same verification as any other kind and is named as what it is, so that a production policy refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dataspace.kernel.encoding import canonical, digest
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.signed import Digest, Id, Seconds, SignedContent

EAR_SECONDS = 300
EVIDENCE_SECONDS = 60


class EvidenceRefusedError(DataspaceError):
    """The evidence of a node was not accepted; the code says which claim failed."""

    code = "evidence_refused"
    status = 403


class Evidence(SignedContent):
    """What a node says about itself for one run."""

    typ: ClassVar[str] = "evidence"
    kind: Literal["sw-dev"]
    nonce: Id
    run_id: Id
    hpke_key: str
    sign_key: str
    request_digest: Digest
    grant_set: Digest
    policy_digest: Digest
    anchors_digest: Digest
    measurement: Digest
    isolation: Literal["bwrap+seccomp", "process"]
    issued_at: Seconds


class Ear(SignedContent):
    """EAT attestation result: a verifier's short-lived word about a node, with AR4SI trust claims (-127…127)."""

    typ: ClassVar[str] = "ear"
    profile: Literal["tag:github.com,2023:veraison/ear"]
    status: Literal["affirming", "warning", "contraindicated", "none"]
    vector: dict[str, Annotated[int, Field(ge=-127, le=127)]]
    kind: Literal["sw-dev"]
    node_class: str
    isolation: Literal["bwrap+seccomp", "process"]
    node_sign_key: str
    node_hpke_key: str
    nonce: Id
    run_id: Id
    request_digest: Digest
    grant_set: Digest
    policy_digest: Digest
    issued_at: Seconds
    not_after: Seconds


class Result(SignedContent):
    """What passed output control, signed by the attested node."""

    typ: ClassVar[str] = "result"
    run_id: Id
    request_digest: Digest
    product_digest: Digest
    kind: Literal["individual", "cohort"]
    answer: dict[str, object] | None
    table: dict[str, object] | None
    produced_at: Seconds


class Release(SignedContent):
    """The broker's word that this result left under grants that were all active at that moment."""

    typ: ClassVar[str] = "release"
    run_id: Id
    request_digest: Digest
    result_digest: Digest
    grant_set: Digest
    node: Digest
    released_at: Seconds


@cache
def node_measurement() -> str:
    """Digest of the node's code as installed: every module of ``connectors.compute``, by name and text."""
    found = {
        item.name: item.read_text("utf-8")
        for item in files("connectors.compute").iterdir()
        if item.name.endswith(".py")
    }
    return digest("node-code", canonical(found))


def anchors_digest(anchors: Mapping[str, str]) -> str:
    """Name of the trust anchors (root name → b64 key) that broker and node must share."""
    return digest("trust-anchors", canonical(dict(anchors)))


def sealed_result_digest(sealed: bytes) -> str:
    return digest("sealed-result", sealed)


def record_list_digest(record_ids: list[str]) -> str:
    return digest("record-list", *record_ids)
