"""The folder of one installation: who owns which secret, and the public keys that the others pin."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from connectors.broker.pins import Pins
from dataspace.audit.witness import Memory
from dataspace.kernel.encoding import b64, unb64
from dataspace.kernel.files import private_folder, secret, write_private
from dataspace.kernel.jws import SigningKey
from dataspace.settings import Settings


@dataclass(frozen=True)
class PublicKeys:
    """Public halves (b64, 32 bytes) of one installation, for pinning elsewhere."""

    service: str
    log: str
    broker: str
    node: str
    witness: str

    def raw(self, name: str) -> bytes:
        return unb64(str(getattr(self, name)), size=32)


def service_key(settings: Settings) -> SigningKey:
    """Signs tokens and receipts."""
    return SigningKey(secret(settings.service_home / "service.key"))


def log_key(settings: Settings) -> SigningKey:
    return SigningKey(secret(settings.service_home / "log.key"))


def body_key(settings: Settings) -> bytes:
    """Seals the bodies of log entries at rest."""
    return secret(settings.service_home / "log-bodies.key")


def broker_key(settings: Settings) -> SigningKey:
    return SigningKey(secret(settings.broker_home / "broker.key"))


def node_key(settings: Settings) -> SigningKey:
    """The node's attestation key (kind sw-dev: a software key)."""
    return SigningKey(secret(settings.node_home / "attestation.key"))


def witness_key(settings: Settings) -> SigningKey:
    return Memory(settings.witness_home).key


def initialise(settings: Settings) -> PublicKeys:
    """Make what is missing of folders and secrets; answers the public keys. Safe to repeat."""
    homes = (settings.service_home, settings.broker_home, settings.node_home, settings.witness_home, settings.sockets)
    for folder in (settings.home, *homes):
        private_folder(folder)
    body_key(settings)
    secret(settings.node_home / "store.key")
    keys = PublicKeys(
        service=b64(service_key(settings).public),
        log=b64(log_key(settings).public),
        broker=b64(broker_key(settings).public),
        node=b64(node_key(settings).public),
        witness=b64(witness_key(settings).public),
    )
    write_private(settings.home / "public.json", json.dumps(asdict(keys), indent=1).encode())
    return keys


def pin(settings: Settings, registrar: bytes, anchors: list[str]) -> Pins:
    """Fix what broker, node and service of this installation trust: registrar, log, witness, node anchors."""
    keys = initialise(settings)
    pins = Pins(
        registrar=registrar,
        log_origin=settings.log_origin,
        log_key=keys.raw("log"),
        witnesses={settings.witness_name: keys.raw("witness")},
        witness_quorum=settings.witness_quorum,
        anchors=tuple(anchors),
        environment=settings.environment,
        accepted_node_classes=("sw-dev",) if settings.environment == "development" else ("tpm",),
    )
    data = json.dumps(pins.to_json(), indent=1).encode()
    for folder in (settings.broker_home, settings.node_home, settings.service_home):
        write_private(folder / "pins.json", data)
    return pins


class NotPinnedError(Exception):
    """The installation has no pinned roots yet."""


def pins_of(settings: Settings, part: str) -> Pins:
    """What ``part`` (service, broker, node) has pinned."""
    path = settings.home / part / "pins.json"
    if not path.exists():
        raise NotPinnedError(f"{path} is missing: pin the registrar first (dataspace pin)")
    return Pins.from_json(json.loads(path.read_text("utf-8")))
