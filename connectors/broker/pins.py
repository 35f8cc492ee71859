"""What the broker trusts: set when it is installed, never learned from the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connectors.attestation import anchors_digest
from dataspace.kernel.encoding import b64, unb64
from dataspace.kernel.note import Checkpoint, verify_checkpoint
from dataspace.standard.register import Anchor


@dataclass(frozen=True)
class Pins:
    """Pinned public keys (32 raw bytes each) and what they are for.

    ``witness_quorum`` cosignatures are needed below every checkpoint. ``anchors`` are registrar-signed node anchors.
    """

    registrar: bytes
    log_origin: str
    log_key: bytes
    witnesses: Mapping[str, bytes]
    witness_quorum: int
    anchors: tuple[str, ...]
    environment: str = "development"
    accepted_node_classes: tuple[str, ...] = ("sw-dev",)

    def checkpoint(self, text: str) -> Checkpoint:
        """A checkpoint by the pinned log key, cosigned by enough pinned witnesses."""
        return verify_checkpoint(text, self.log_key, self.log_origin, self.witnesses, self.witness_quorum)

    def anchor_keys(self, now: int) -> dict[str, Anchor]:
        """Valid node anchors by the fingerprint-independent name they are registered under."""
        found = [Anchor.verify(token, self.registrar) for token in self.anchors]
        return {anchor.name: anchor for anchor in found if anchor.valid_at(now)}

    def digest(self) -> str:
        """The trust-anchor set that nodes have to name in their evidence."""
        anchors = {f"anchor.{a.name}": a.key for a in (Anchor.verify(token, self.registrar) for token in self.anchors)}
        return anchors_digest({"registrar": b64(self.registrar), "log": b64(self.log_key), **anchors})

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Pins:
        """As written by :meth:`to_json`; a missing or unknown member is refused."""
        known = dict(value)
        witnesses = known.pop("witnesses")
        if not isinstance(witnesses, Mapping):
            raise TypeError("witnesses maps names to keys")
        return cls(
            registrar=unb64(str(known.pop("registrar")), size=32),
            log_key=unb64(str(known.pop("log_key")), size=32),
            witnesses={name: unb64(str(key), size=32) for name, key in witnesses.items()},
            anchors=tuple(known.pop("anchors")),  # type: ignore[arg-type]
            accepted_node_classes=tuple(known.pop("accepted_node_classes")),  # type: ignore[arg-type]
            **known,  # type: ignore[arg-type]
        )

    def to_json(self) -> dict[str, object]:
        return {
            "registrar": b64(self.registrar),
            "log_origin": self.log_origin,
            "log_key": b64(self.log_key),
            "witnesses": {name: b64(key) for name, key in self.witnesses.items()},
            "witness_quorum": self.witness_quorum,
            "anchors": list(self.anchors),
            "environment": self.environment,
            "accepted_node_classes": list(self.accepted_node_classes),
        }
