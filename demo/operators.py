"""Simulated licensed operators, who speak to the space through the SDK alone."""

from __future__ import annotations

from typing import Any

from dataspace_sdk import Answered, Dataspace, Denied, OperatorIdentity, Pending, Product, Trust
from dataspace_sdk.products import product_digest

from dataspace.kernel.http import call
from demo import products
from demo.city import City

RESEARCHER = "demo-university"
BANK = "demo-bank"
NAMES = {
    RESEARCHER: ("示范大学公共卫生学院", "Demonstration University, School of Public Health"),
    BANK: ("示范银行", "Demonstration Bank"),
}
PURPOSES = {RESEARCHER: [products.RESEARCH], BANK: [products.CREDIT]}
COLLECTIONS = {RESEARCHER: ["demographics", "vitals", "smoking", "wages"], BANK: ["wages"]}


def trust_of(city: City) -> Trust:
    """What an operator has pinned."""
    pins = city.pins
    return Trust(
        audience=pins.audience,
        registrar=pins.registrar,
        broker=pins.broker,
        log_origin=pins.log_origin,
        log_key=pins.log_key,
        witnesses=pins.witnesses,
        witness_quorum=pins.witness_quorum,
        accept_node_classes=frozenset({"sw-dev"}),
    )


def license_operators(city: City) -> dict[str, Dataspace]:
    """The registrar licenses both operators; each connects with its own key."""
    licences, spaces = [], {}
    for name, names in NAMES.items():
        key = city.operator_key(name)
        licences.append(city.registrar.licence(name, names, key.public, PURPOSES[name], COLLECTIONS[name]))
        spaces[name] = connect(city, name)
    call(city.service, "POST", "/v1/register", {"objects": licences})
    return spaces


def connect(city: City, operator_id: str) -> Dataspace:
    identity = OperatorIdentity(operator_id, city.operator_key(operator_id).seed)
    return Dataspace("http://service", identity, trust_of(city), city.programs.client("service"))


def publish(city: City, space: Dataspace, manifest: dict[str, Any]) -> Product:
    """Two reviewers pass the manifest, the registrar lists it, the operator publishes it."""
    digest = product_digest(manifest)
    listing = city.registrar.listing(digest, manifest["product_id"], manifest["version"], manifest["operator_id"])
    return space.publish(manifest, listing)


def table_of(outcome: Answered | Denied | Pending) -> list[dict[str, Any]]:
    """Cells of a released table."""
    if not isinstance(outcome, Answered) or outcome.table is None:
        raise RuntimeError(f"no table was released: {outcome}")
    return [dict(cell) for cell in outcome.table.cells]
