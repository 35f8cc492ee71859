"""The other programs of an installation, each with its own folder and keys: broker, node, witness."""

from __future__ import annotations

from fastapi import FastAPI

import policies
from connectors.broker.app import create_broker_app
from connectors.broker.broker import Broker, Consistency
from connectors.broker.client import BrokerClient
from connectors.broker.store import BrokerStore
from connectors.compute.answers import AnswerStore
from connectors.compute.app import create_node_app
from connectors.compute.node import Node
from connectors.compute.releases import ReleaseStore
from connectors.compute.sandbox import SandboxPool
from consent.engine import open_engine
from dataspace import home
from dataspace.audit.witness import create_witness
from dataspace.kernel.clock import Clock
from dataspace.kernel.db import Database, sqlite_url
from dataspace.kernel.db import open_engine as open_database
from dataspace.kernel.files import secret
from dataspace.kernel.http import RUN_SECONDS, call, socket_client
from dataspace.settings import Settings


def open_broker(settings: Settings, consistency: Consistency) -> Broker:
    """The broker over its own store; ``consistency`` fetches proofs from the log."""
    database = Database(open_database(sqlite_url(settings.broker_home / "broker.db")))
    return Broker(
        store=BrokerStore(database),
        broker_id="broker-1",
        key=home.broker_key(settings),
        pins=home.pins_of(settings, "broker"),
        engine=open_engine("embedded"),
        policy_digest=policies.digest(),
        consistency=consistency,
    )


def open_node(settings: Settings, broker: BrokerClient) -> Node:
    """A sw-dev node over its own stores."""
    pins = home.pins_of(settings, "node")
    return Node(
        attestation_key=home.node_key(settings),
        broker=broker,
        registrar=pins.registrar,
        policy_digest=policies.digest(),
        anchors_digest=pins.digest(),
        pool=SandboxPool(),
        releases=ReleaseStore(settings.node_home / "releases.db", secret(settings.node_home / "store.key")),
        answers=AnswerStore(settings.node_home / "answers.db"),
    )


def broker_app(settings: Settings, clock: Clock) -> FastAPI:
    """The broker as a program: it fetches consistency proofs from the service's public log."""
    log = socket_client(settings.sockets, "service", 10.0)

    def consistency(from_size: int, to_size: int) -> list[str]:
        found = call(log, "GET", f"/v1/log/consistency?from_size={from_size}&to_size={to_size}")
        return [str(item) for item in found["hashes"]]

    return create_broker_app(open_broker(settings, consistency), clock)


def node_app(settings: Settings, clock: Clock) -> FastAPI:
    return create_node_app(
        open_node(settings, BrokerClient(socket_client(settings.sockets, "broker", RUN_SECONDS))), clock
    )


def witness_app(settings: Settings, clock: Clock) -> FastAPI:
    return create_witness(
        settings.witness_home, settings.log_origin, home.log_key(settings).public, settings.witness_name, clock
    )
