"""Attempts to get around it. Each plays one attacker against the running district; it returns the refusal's code.

The attackers hold what their part would hold: the service's database, its keys and backups, a node's key, a resident's
client, an operator's key. An attempt that works raises :class:`AttackSucceededError`.
"""

from __future__ import annotations

import copy
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from dataspace_sdk import Ask, Dataspace, Denied, Product

import policies
from connectors.attestation import Evidence, node_measurement
from connectors.broker.client import BrokerClient
from connectors.compute.client import NodeClient
from consent.asking import verify_grant_key
from consent.model import Grant, GrantKey, UseRequest, grant_set
from dataspace import home
from dataspace.kernel.encoding import b64, canonical, unb64
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.http import call
from dataspace.kernel.ids import random_id
from dataspace.kernel.jws import SigningKey
from demo import nhefs, products
from demo.city import City, until
from demo.flow import Outcome
from demo.operators import BANK, RESEARCHER, connect, publish
from demo.people import Person
from vault.client import ResidentClient, SeenLog
from vault.envelope import SlotContext, open_record, open_slot, record_key, seal_record, seal_slot
from vault.granting import GrantKeyContext, open_grant_key
from vault.keyring import Keyring
from vault.suite1 import OpeningKey, SealingKey, epoch_key_digest, new_key

LENDER = "demo-lender"
SHORT_SECONDS = 3


class AttackSucceededError(Exception):
    """A defence did not hold."""


@dataclass
class Scene:
    """What attackers find: the district after the flow, and a backup of the service from before the withdrawals."""

    city: City
    outcome: Outcome
    spaces: dict[str, Dataspace]
    pause: Callable[[float], None] = time.sleep
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        return self.city.settings.service_home / "dataspace.db"

    @property
    def backup(self) -> Path:
        return self.city.settings.home / "backup" / "dataspace.db"

    @property
    def node(self) -> NodeClient:
        return NodeClient(self.city.programs.client("node"))

    @property
    def broker(self) -> BrokerClient:
        return BrokerClient(self.city.programs.client("broker"))

    def active(self, product: str, skip: int = 0) -> Person:
        """Somebody whose grant for the cohort product is active."""
        return self.outcome.rules[product]["grant"][skip]


def refused(act: Callable[[], object]) -> str:
    """The code with which ``act`` was refused."""
    try:
        done = act()
    except DataspaceError as error:
        return error.code
    if isinstance(done, Denied):
        return done.reasons[0].code
    raise AttackSucceededError(f"nobody refused: {type(done).__name__}")


# what an attacker with the service's database reads


def rows(database: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query, values).fetchall()


def stored_grant(scene: Scene, grant_digest: str, database: Path | None = None) -> dict[str, Any]:
    """A grant with its sealed keys and records, as the service would hand them to a node."""
    place = database or scene.database
    query = "SELECT resident_id, token, sealed FROM grants WHERE grant_digest = ?"
    resident_id, token, sealed = rows(place, query, grant_digest)[0]
    scopes = {scope.collection for scope in Grant.claimed(token).grant.scope}
    records = [
        {
            "record_id": record_id,
            "slot_id": slot_id,
            "collection": collection,
            "source_id": source_id,
            "slot": b64(slot),
            "sealed": b64(body),
        }
        for record_id, slot_id, collection, source_id, slot, body in rows(
            place,
            "SELECT r.record_id, r.slot_id, s.collection, s.source_id, s.sealed, r.sealed FROM vault_records r "
            "JOIN vault_slots s ON s.resident_id = r.resident_id AND s.slot_id = r.slot_id WHERE r.resident_id = ?",
            resident_id,
        )
        if collection in scopes
    ]
    return {"papers": {"grant": token, "sealed": json.loads(sealed)}, "entry": {}, "records": records}


def stolen_job(scene: Scene, request: str, papers: dict[str, str], grants: list[dict[str, Any]]) -> dict[str, Any]:
    """A job that a lying service would send to an honest node."""
    checkpoint = call(scene.city.service, "GET", "/v1/log/checkpoint")["checkpoint"]
    sources = [token for (token,) in rows(scene.database, "SELECT token FROM sources")]
    return {
        "run_id": random_id(),
        "papers": papers,
        "request": request,
        "checkpoint": checkpoint,
        "decision": {},
        "sources": sources,
        "grants": grants,
    }


def papers_of(scene: Scene, product_digest: str) -> dict[str, str]:
    query = "SELECT operator_id, product, listing FROM products WHERE product_digest = ?"
    operator_id, product, listing = rows(scene.database, query, product_digest)[0]
    licence = rows(scene.database, "SELECT licence FROM operators WHERE operator_id = ?", operator_id)[0][0]
    return {"licence": licence, "product": product, "listing": listing}


def variant(scene: Scene, manifest: dict[str, Any], operator_id: str) -> Product:
    """Another product of the operator, reviewed and listed like any other."""
    return publish(scene.city, scene.spaces[operator_id], manifest)


def unsent_request(scene: Scene, operator_id: str, product: Product) -> str:
    """A request that the operator has signed."""
    return scene.spaces[operator_id].new_ask(product).request


# 1-3: asking for more


def expired_licence(scene: Scene) -> str:
    """An operator's licence runs out between the resident's grant and the use."""
    city, key = scene.city, scene.city.operator_key(LENDER)
    names = ("示范小额贷款", "Demonstration Lender")
    now = city.clock()
    licence = city.registrar.licence(LENDER, names, key.public, [products.CREDIT], ["wages"], until=now + SHORT_SECONDS)
    call(city.service, "POST", "/v1/register", {"objects": [licence]})
    scene.spaces[LENDER] = connect(city, LENDER)
    product = publish(city, scene.spaces[LENDER], products.income_check(LENDER))
    ask = granted(scene, LENDER, product, bystander(scene))
    until(lambda: city.clock() > now + SHORT_SECONDS + 1)
    return refused(lambda: scene.spaces[LENDER].answer(ask))


def bystander(scene: Scene) -> Person:
    """An adult of the district with wages, who has not applied at the bank."""
    applied = {person.label for person, _ in scene.outcome.applicants}
    earning = {one.label for one in scene.city.district.residents if one.wages} if scene.city.district else set()
    return next(p for p in scene.city.residents if p.label in earning - applied)


def granted(scene: Scene, operator_id: str, product: Product, person: Person) -> Ask:
    """``person`` is asked and grants; active when this returns."""
    ask = scene.spaces[operator_id].ask(product, handle=person.client.new_handle(operator_id))
    now = scene.city.clock()
    question = next(a for a in person.verified_asks(now) if a.request.digest == ask.request_digest)
    digest = person.grant(question, now)
    until(partial(is_active, person, digest))
    return ask


def is_active(person: Person, grant_digest: str) -> bool:
    """Whether the broker has confirmed the grant."""
    return any(g["grant_digest"] == grant_digest and g["state"] == "active" for g in person.client.grants())


def purpose_not_granted(scene: Scene) -> str:
    """Grants for research, used for a properly listed product with another purpose."""
    manifest = products.blood_pressure(RESEARCHER, "nhefs") | {"purpose": products.CREDIT, "version": 2}
    return _reused_grant(scene, manifest)


def field_outside_grant(scene: Scene) -> str:
    """Grants for one field, used for a properly listed product that reads one more."""
    manifest = products.blood_pressure(RESEARCHER, "nhefs") | {"version": 3}
    inputs = copy.deepcopy(manifest["inputs"])
    inputs[1]["fields"].append("dbp")
    return _reused_grant(scene, manifest | {"inputs": inputs})


def _reused_grant(scene: Scene, manifest: dict[str, Any]) -> str:
    product = variant(scene, manifest, RESEARCHER)
    person = scene.active("A")
    grant = stored_grant(scene, person.grants[scene.outcome.listed["A"].digest])
    request = unsent_request(scene, RESEARCHER, product)
    return refused(lambda: scene.node.run(stolen_job(scene, request, papers_of(scene, product.digest), [grant])))


# 4-6: using what has ended


def withdrawn_grant(scene: Scene) -> str:
    """The service keeps a withdrawn grant and its sealed keys from a backup, and tries to have it opened."""
    product = scene.outcome.listed["A"]
    person = scene.outcome.rules["A"]["withdraw"][0]
    grant = stored_grant(scene, person.grants[product.digest], scene.backup)
    request = unsent_request(scene, RESEARCHER, product)
    return refused(lambda: scene.node.run(stolen_job(scene, request, papers_of(scene, product.digest), [grant])))


def grant_byte_changed(scene: Scene) -> str:
    """One number in a signed grant is raised."""
    product = scene.outcome.listed["A"]
    grant = stored_grant(scene, scene.active("A").grants[product.digest])
    grant["papers"]["grant"] = changed(grant["papers"]["grant"], lambda payload: payload["grant"].update(uses=2))
    request = unsent_request(scene, RESEARCHER, product)
    return refused(lambda: scene.node.run(stolen_job(scene, request, papers_of(scene, product.digest), [grant])))


def changed(token: str, change: Callable[[dict[str, Any]], object]) -> str:
    """A signed object with another payload under its old signature."""
    header, body, signature = token.split(".")
    payload = json.loads(unb64(body))
    change(payload)
    return f"{header}.{b64(canonical(payload))}.{signature}"


def thief_with_everything_but_grants(scene: Scene) -> str:
    """Database, keys, backup from before the withdrawals, and the broker's store as it is today: what can be read?

    For people who refused there is no grant to open; for those who withdrew, the backup has the sealed keys, and the
    thief tries every secret found in any file on them.
    """
    secrets = _found_secrets(scene.city.settings.home)
    codes: set[str] = set()
    for name in ("A", "B"):
        digest = scene.outcome.listed[name].digest
        for person in scene.outcome.rules[name]["withdraw"][:3]:
            codes.add(_open_with(secrets, *_sealed_keys(scene, person.grants[digest])))
    refusers = [p for p in scene.outcome.rules["A"]["refuse"] if p in scene.outcome.rules["B"]["refuse"]]
    for person in refusers[:3]:
        codes.add(_open_slots_with(secrets, scene, person))
    if codes != {"cannot_open"}:
        raise AttackSucceededError(f"the thief read something: {codes}")
    return codes.pop()


def _found_secrets(folder: Path) -> list[bytes]:
    """Every 32-byte file below the folder, and every seed that the broker's store still holds."""
    parts = ("service", "node", "witness", "broker")
    files = [path for part in parts for path in (folder / part).rglob("*") if path.is_file()]
    found = [path.read_bytes() for path in files if path.stat().st_size == 32]
    query = "SELECT seed FROM broker_grant_keys WHERE seed IS NOT NULL AND grant_digest IS NOT NULL LIMIT 25"
    return found + [bytes(seed) for (seed,) in rows(folder / "broker" / "broker.db", query)]


def _sealed_keys(scene: Scene, grant_digest: str) -> tuple[list[tuple[GrantKeyContext, bytes]], list[bytes]]:
    """Sealed keys of a withdrawn grant from the backup; and the broker's seed for it, if it can still be found."""
    token, sealed = rows(scene.backup, "SELECT token, sealed FROM grants WHERE grant_digest = ?", grant_digest)[0]
    content = Grant.claimed(token)
    contexts = [
        GrantKeyContext(grant_digest, key.collection, key.epoch_key, key.kind, key.slot) for key in content.sealed
    ]
    store = scene.city.settings.broker_home / "broker.db"
    query = "SELECT seed FROM broker_grant_keys WHERE key_id = ? AND seed IS NOT NULL"
    own = [bytes(seed) for (seed,) in rows(store, query, content.grant.broker_key)]
    return list(zip(contexts, [unb64(item) for item in json.loads(sealed)], strict=True)), own


def _open_with(secrets: list[bytes], sealed: list[tuple[GrantKeyContext, bytes]], own: list[bytes]) -> str:
    for secret in [*own, *secrets]:
        for context, body in sealed:
            try:
                open_grant_key(OpeningKey(secret), context, body)
            except DataspaceError as error:
                code = error.code
            else:
                raise AttackSucceededError("a withdrawn grant was opened")
    return code


def _open_slots_with(secrets: list[bytes], scene: Scene, person: Person) -> str:
    resident_id = rows(scene.database, "SELECT resident_id FROM subjects WHERE subject = ?", person.client.subject)[0][
        0
    ]
    query = "SELECT slot_id, collection, epoch_key, source_id, sealed FROM vault_slots WHERE resident_id = ?"
    for slot_id, collection, epoch_key, source_id, sealed in rows(scene.database, query, resident_id):
        for secret in secrets:
            place = SlotContext(slot_id, collection, epoch_key, source_id)
            try:
                open_slot(OpeningKey(secret), place, sealed)
            except DataspaceError as error:
                code = error.code
            else:
                raise AttackSucceededError("a slot was opened without any grant")
    return code


# 7-11: putting other keys and records in place


def substituted_broker_key(scene: Scene) -> str:
    """The service shows a resident a key of its own in place of the broker's."""
    request = scene.outcome.asks["A"]
    forged = GrantKey(
        broker_id="broker-1",
        key_id=random_id(),
        key=b64(OpeningKey(new_key()).public),
        request_digest=request.request_digest,
        not_after=scene.city.clock() + 3600,
    ).sign(SigningKey(new_key()))
    pins, now = scene.city.pins, scene.city.clock()
    return refused(lambda: verify_grant_key(forged, pins.broker, request.request_digest, now))


def substituted_epoch_key(scene: Scene) -> str:
    """The service hands the hospital keys of its own for a resident whose fingerprint the hospital has seen."""
    victim = scene.active("A")
    own = Keyring.create(["vitals"], scene.city.clock())
    body = {
        "label": victim.label,
        "person_no": victim.numbers["health"],
        "subject": victim.client.subject,
        "statements": own.statements,
    }
    return refused(lambda: call(scene.city.authorities["health"], "POST", "/v1/links", body))


def transplanted_record(scene: Scene) -> str:
    """A record that the hospital signed for one person is sealed into another's space; anyone can seal."""
    donor, victim = scene.active("B", 1), scene.active("B", 2)
    item = next(i for i in call_own(donor.client)["records"] if i["collection"] == "vitals")
    payload = _own_payload(donor.client, item)
    epoch = victim.chain.epochs["vitals"]
    place = SlotContext(random_id(), "vitals", epoch.key_digest, "health")
    slot_key = new_key()
    resident_id = rows(scene.database, "SELECT resident_id FROM subjects WHERE subject = ?", victim.client.subject)[0][
        0
    ]
    moved = random_id()
    sealed = seal_record(slot_key, moved, place, payload)
    slot = seal_slot(SealingKey(epoch.key), place, slot_key)
    with closing(sqlite3.connect(scene.database, timeout=30)) as connection, connection:
        connection.execute(
            "INSERT INTO vault_slots VALUES (?, ?, 'vitals', ?, 'health', ?)",
            (resident_id, place.slot_id, place.epoch_key, slot),
        )
        connection.execute(
            "INSERT INTO vault_records VALUES (?, ?, ?, 0, ?)", (resident_id, moved, place.slot_id, sealed)
        )
    try:
        return _run_again(scene, "B")
    finally:
        with closing(sqlite3.connect(scene.database, timeout=30)) as connection, connection:
            connection.execute("DELETE FROM vault_records WHERE record_id = ?", (moved,))
            connection.execute("DELETE FROM vault_slots WHERE slot_id = ?", (place.slot_id,))


def call_own(client: ResidentClient) -> dict[str, Any]:
    return client._call("GET", "/v1/me/records")


def _own_payload(client: ResidentClient, item: dict[str, Any]) -> bytes:
    place = SlotContext(item["slot_id"], item["collection"], item["epoch_key"], item["source_id"])
    keys = {epoch_key_digest(OpeningKey(seed).public): OpeningKey(seed) for seed in client.ring.seeds.values()}
    slot_key = open_slot(keys[place.epoch_key], place, unb64(item["slot"]))
    return open_record(record_key(slot_key, item["record_id"]), item["record_id"], place, unb64(item["sealed"]))


def _run_again(scene: Scene, name: str) -> str:
    space = scene.spaces[RESEARCHER]
    ask = space.ask(scene.outcome.listed[name])
    return refused(lambda: space.answer(ask))


def swapped_sealed_keys(scene: Scene) -> str:
    """The sealed keys of two residents' grants change places."""
    product = scene.outcome.listed["A"]
    one, other = (stored_grant(scene, scene.active("A", n).grants[product.digest]) for n in (0, 1))
    one["papers"]["sealed"], other["papers"]["sealed"] = other["papers"]["sealed"], one["papers"]["sealed"]
    request = unsent_request(scene, RESEARCHER, product)
    return refused(lambda: scene.node.run(stolen_job(scene, request, papers_of(scene, product.digest), [one, other])))


def swapped_result_key(scene: Scene) -> str:
    """The service puts its own result key into the operator's request, to read the answer itself."""
    product = scene.outcome.listed["A"]
    grant = stored_grant(scene, scene.active("A").grants[product.digest])
    own = b64(OpeningKey(new_key()).public)
    request = changed(unsent_request(scene, RESEARCHER, product), lambda payload: payload.update(result_key=own))
    return refused(lambda: scene.node.run(stolen_job(scene, request, papers_of(scene, product.digest), [grant])))


# 12-15: learning more than was agreed


def threshold_walk(scene: Scene) -> str:
    """The bank asks the same person the same question with another threshold."""
    person = next(p for p, _ in scene.outcome.applicants[2:])
    manifest = products.income_check(BANK)
    manifest |= {
        "version": 2,
        "computation": {**manifest["computation"], "parameters": {"least_months": 9, "least_mean": 650_000}},
    }
    product = variant(scene, manifest, BANK)
    scene.made["walk"] = granted(scene, BANK, product, person)
    return refused(lambda: scene.spaces[BANK].answer(scene.made["walk"]))


def lying_service_facts(scene: Scene) -> str:
    """The service deletes its record of earlier answers and decides again; the broker counts for itself."""
    if "walk" not in scene.made:
        threshold_walk(scene)
    with closing(sqlite3.connect(scene.database, timeout=30)) as connection, connection:
        connection.execute("DELETE FROM grant_uses WHERE operator_id = ?", (BANK,))
    code = refused(lambda: scene.spaces[BANK].answer(scene.made["walk"]))
    digest = scene.made["walk"].request_digest
    query = "SELECT outcome FROM runs WHERE request_digest = ? ORDER BY at, state"
    if ("allow",) not in rows(scene.database, query, digest):
        raise AttackSucceededError("the service did not lie, so nothing was shown")
    return code


def rerun_after_one_withdrawal(scene: Scene) -> str:
    """The same table again after one person has left: the difference would be that person."""
    shown = {(c["sex"], c["age_band"]) for c in scene.outcome.tables["A"] if not c["suppressed"]}
    counted = nhefs.reference_rows_a(scene.city.data / "files" / "study")
    labels = {row["label"] for row in counted if (row["sex"], row["age_band"]) in shown}
    groups = scene.outcome.rules["A"]
    leaving = next(person for person in reversed(groups["grant"]) if person.label in labels)
    groups["grant"].remove(leaving)
    groups["withdraw"].append(leaving)
    leaving.withdraw(scene.outcome.listed["A"].digest)
    return _run_again(scene, "A")


def cell_below_k(scene: Scene) -> str:
    """A table over so few people that every cell would point at somebody."""
    manifest = products.average_wage(RESEARCHER)
    product = variant(scene, manifest, RESEARCHER)
    space = scene.spaces[RESEARCHER]
    ask = space.ask(product)
    now = scene.city.clock()
    asked = [
        (p, a) for p in scene.city.residents for a in p.verified_asks(now) if a.request.digest == ask.request_digest
    ]
    for person, question in asked[:6]:
        until(partial(is_active, person, person.grant(question, now)))
    return refused(lambda: space.answer(ask))


# 16-18: the log and the node


class Tampering(httpx.BaseTransport):
    """A service that changes what it answers to one path."""

    def __init__(self, inner: httpx.Client, path: str, change: Callable[[dict[str, Any]], None]) -> None:
        self._inner = inner
        self._path = path
        self._change = change

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        answer = self._inner.request(
            request.method, request.url.raw_path.decode(), headers=request.headers, content=request.content
        )
        body = answer.json()
        if request.url.path == self._path and answer.is_success:
            self._change(body)
        return httpx.Response(answer.status_code, json=body)


def _log_through(scene: Scene, change: Callable[[dict[str, Any]], None]) -> str:
    """A resident whose data was used checks the log through a service that lies about it."""
    person = scene.outcome.applicants[2][0]
    scene.city.programs.client("service")
    transport = Tampering(scene.city.service, "/v1/me/log", change)
    with httpx.Client(transport=transport, base_url="http://service") as http:
        client = ResidentClient(http, person.client.pins, person.client.ring, person.client.clock)
        client.seen = SeenLog()
        return refused(client.check_log)


def hidden_log_entry(scene: Scene) -> str:
    """The service leaves out everything since the resident's data was last used."""

    def change(body: dict[str, Any]) -> None:
        used = [n for n, entry in enumerate(body["entries"]) if b"use.decided" in unb64(entry["body"])]
        body["entries"] = body["entries"][: used[0]]

    return _log_through(scene, change)


def rewritten_log_entry(scene: Scene) -> str:
    """The service shows a resident another purpose than the one that was logged."""

    def change(body: dict[str, Any]) -> None:
        for entry in body["entries"]:
            text = unb64(entry["body"]).replace(products.CREDIT.encode(), products.RESEARCH.encode())
            entry["body"] = b64(text)

    return _log_through(scene, change)


def stale_nonce(scene: Scene) -> str:
    """A node shows evidence that it has used before."""
    product = scene.outcome.listed["A"]
    person = scene.active("A")
    grant = stored_grant(scene, person.grants[product.digest])
    request = unsent_request(scene, RESEARCHER, product)
    job = stolen_job(scene, request, papers_of(scene, product.digest), [grant])
    settings = scene.city.settings
    pins = home.pins_of(settings, "node")
    now = scene.city.clock()
    evidence = Evidence(
        kind="sw-dev",
        nonce=scene.broker.challenge(),
        run_id=job["run_id"],
        hpke_key=b64(OpeningKey(new_key()).public),
        sign_key=b64(SigningKey(new_key()).public),
        request_digest=UseRequest.claimed(request).digest(),
        grant_set=grant_set([Grant.claimed(grant["papers"]["grant"]).grant.digest()]),
        policy_digest=policies.digest(),
        anchors_digest=pins.digest(),
        measurement=node_measurement(),
        isolation="bwrap+seccomp",
        issued_at=now,
    ).sign(home.node_key(settings))
    grants = [{**grant, "records": [{k: v for k, v in r.items() if k != "sealed"} for r in grant["records"]]}]
    opening = {key: job[key] for key in ("run_id", "papers", "request", "checkpoint", "decision")}
    opening |= {"evidence": evidence, "grants": grants}
    refused(lambda: scene.broker.open(opening))
    return refused(lambda: scene.broker.open(opening))


ATTACKS: dict[str, Callable[[Scene], str]] = {
    attack.__name__: attack
    for attack in (
        expired_licence,
        purpose_not_granted,
        field_outside_grant,
        withdrawn_grant,
        grant_byte_changed,
        thief_with_everything_but_grants,
        substituted_broker_key,
        substituted_epoch_key,
        transplanted_record,
        swapped_sealed_keys,
        swapped_result_key,
        threshold_walk,
        lying_service_facts,
        rerun_after_one_withdrawal,
        cell_below_k,
        hidden_log_entry,
        rewritten_log_entry,
        stale_nonce,
    )
}
"""Every attempt by its name, in the order in which the demo plays them."""


def played(scene: Scene) -> dict[str, str]:
    """All attempts; name to the code of the refusal."""
    return {name: attack(scene) for name, attack in ATTACKS.items()}
