"""Who the operator is, and whom it trusts: pinned once, out of band, never taken from the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dataspace_sdk.encoding import Json, members, unb64
from dataspace_sdk.errors import ConfigError, MalformedError
from dataspace_sdk.jws import SigningKey

_TRUST: Mapping[str, type] = {
    "audience": str,
    "registrar": str,
    "broker": str,
    "log_origin": str,
    "log_key": str,
    "witnesses": dict,
    "witness_quorum": int,
    "accept_node_classes": list,
}


@dataclass(frozen=True)
class OperatorIdentity:
    """The licensed operator and the 32-byte seed of its Ed25519 signing key (secret; not in ``repr``)."""

    operator_id: str
    signing_key_seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.signing_key_seed) != 32:
            raise ConfigError("the seed of a signing key has 32 bytes")

    def key(self) -> SigningKey:
        return SigningKey(self.signing_key_seed)


@dataclass(frozen=True)
class Trust:
    """The pinned roots. Keys are 32 raw Ed25519 bytes; ``audience`` names the service in assertions.

    ``accept_node_classes`` are the node classes whose answers are believed; "sw-dev" is for development only: it is
    attested by a software key and says nothing about hardware.
    """

    audience: str
    registrar: bytes
    broker: bytes
    log_origin: str
    log_key: bytes
    witnesses: Mapping[str, bytes]
    witness_quorum: int
    accept_node_classes: frozenset[str]

    def __post_init__(self) -> None:
        keys = (self.registrar, self.broker, self.log_key, *self.witnesses.values())
        if any(len(key) != 32 for key in keys):
            raise ConfigError("a pinned key has 32 bytes")
        if not 1 <= self.witness_quorum <= len(set(self.witnesses.values()) - {self.log_key}):
            raise ConfigError("witness_quorum must be at least 1 and at most the number of different witness keys")
        if not self.accept_node_classes:
            raise ConfigError("accept_node_classes names no class, so that no answer could be believed")

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Trust:
        """Keys in base64url, ``witnesses`` as name → key, ``accept_node_classes`` as a list; nothing else allowed."""
        try:
            found = members(value, _TRUST)
            return cls(
                audience=found["audience"],
                registrar=unb64(found["registrar"], size=32),
                broker=unb64(found["broker"], size=32),
                log_origin=found["log_origin"],
                log_key=unb64(found["log_key"], size=32),
                witnesses={name: unb64(key, size=32) for name, key in found["witnesses"].items()},
                witness_quorum=found["witness_quorum"],
                accept_node_classes=frozenset(found["accept_node_classes"]),
            )
        except (MalformedError, AttributeError, TypeError) as error:
            raise ConfigError(f"trust: {error}") from error
