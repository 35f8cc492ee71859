"""Everything the flows need, made once at start and handed in: no module-level state, many spaces in one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Lock

from connectors.broker.client import BrokerClient
from connectors.compute.client import NodeClient
from consent.engine.port import PolicyEngine
from dataspace.audit.cosign import Cosigner
from dataspace.audit.errors import EntryUnknownError
from dataspace.audit.log import AuditLog, Sequencer
from dataspace.audit.proofs import Prover
from dataspace.identity.access import Access
from dataspace.kernel.db import Database
from dataspace.kernel.encoding import Json
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.jws import SigningKey

LOG_SECONDS = 15.0
RUNS_AT_ONCE = 16
"""Fewer than the server's threads, so that the broker's own questions to the log always find one."""


class LogNotReadyError(DataspaceError):
    """The log or its witness did not answer in time; nothing is released without them."""

    code = "log_unavailable"
    status = 503


@dataclass(frozen=True)
class Proven:
    """Entries that count: their proof bundles under one cosigned checkpoint."""

    checkpoint: str
    bundles: list[dict[str, Json]]


@dataclass(frozen=True)
class Space:
    """One personal data space: its parts, keys and pinned roots."""

    database: Database
    log: AuditLog
    sequencer: Sequencer
    prover: Prover
    cosigner: Cosigner
    witness_quorum: int
    broker: BrokerClient
    node: NodeClient
    engine: PolicyEngine
    policy_digest: str
    environment: str
    accepted_node_classes: tuple[str, ...]
    node_class: str
    access: Access
    key: SigningKey
    registrar: bytes
    controller: str
    settling: Lock = field(default_factory=Lock)
    runs: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(RUNS_AT_ONCE))

    def prove(self, leaf_hashes: Sequence[str]) -> Proven:
        """Wait until the committed entries are numbered and cosigned, then prove them."""
        self.sequencer.wait(leaf_hashes, LOG_SECONDS)
        for attempt in range(3):
            try:
                size = self.prover.size(cosignatures=self.witness_quorum)
                bundles = self.prover.bundle(leaf_hashes, size)
            except DataspaceError as error:
                if attempt == 2 or (not isinstance(error, (EntryUnknownError, LogNotReadyError)) and attempt):
                    raise LogNotReadyError("the log is not witnessed at present") from error
                self.cosigner.cosign_now()
            else:
                return Proven(str(bundles[0]["checkpoint"]), bundles)
        raise LogNotReadyError("the log is not witnessed at present")
