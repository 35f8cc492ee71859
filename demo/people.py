"""Residents of the demo with their own clients: what a person does on the phone, done by a fixed rule."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from connectors.compute import individual
from consent.asking import Ask, notice_of, verify_grant_key, verify_product, verify_request, write_terms
from consent.facts import sensitive_collections
from dataspace.kernel.encoding import canonical
from dataspace.kernel.http import call
from dataspace.kernel.signed import key_bytes
from vault.client import ClientPins, ResidentClient
from vault.statements import KeyChain, follow


@dataclass
class Person:
    """A person with a client. ``numbers``: the person's number at each authority, by authority."""

    label: str
    space: str
    collections: list[str]
    numbers: dict[str, str]
    client: ResidentClient
    grants: dict[str, str] = field(default_factory=dict)
    """Digest of the grant given for each product."""
    scopes: dict[str, list[str]] = field(default_factory=dict)
    """Collections whose epoch seeds were sealed for each product: they get new epochs when it is withdrawn."""
    seen_answers: dict[str, str] = field(default_factory=dict)

    @property
    def chain(self) -> KeyChain:
        """The person's own verified key chain."""
        return follow(self.client.ring.statements, self.client.subject)

    def open_space(self) -> None:
        self.client.register(self.space)

    def link(self, authorities: dict[str, httpx.Client]) -> None:
        """Go to each authority, prove who one is by its means, show the key's fingerprint, bring the link home."""
        links = []
        for name, number in self.numbers.items():
            body = {
                "label": self.label,
                "person_no": number,
                "subject": self.client.subject,
                "statements": self.client.ring.statements,
            }
            links.append(str(call(authorities[name], "POST", "/v1/links", body)["link"]))
        self.client.hand_in_links(links)

    def verified_asks(self, now: int) -> list[Ask]:
        """Open questions, each verified up to the pinned registrar and broker before it is shown."""
        pins = self.client.pins
        found = []
        for item in self.client.asks():
            listed = verify_product(item["licence"], item["product"], item["listing"], pins.registrar)
            request = verify_request(listed, item["request"])
            found.append(Ask(listed, request, verify_grant_key(item["grant_key"], pins.broker, request.digest, now)))
        return found

    def preview(self, ask: Ask, as_of: str) -> str:
        """The answer that the operator would get, computed from one's own records before deciding."""
        records, _ = self.client.records()
        held = {
            item.collection: [r for r in records if r.collection == item.collection]
            for item in ask.listed.product.content.inputs
        }
        said = individual.answer(ask.listed.product.content.payload(), held, as_of).answer
        self.seen_answers[ask.listed.product.digest] = said
        return said

    def grant(self, ask: Ask, now: int, *, answer_shown: bool = False) -> str:
        """Agree to exactly what was asked, with the separate act that sensitive data needs."""
        client, product = self.client, ask.listed.product.content
        chain = self.chain
        names = [item.collection for item in product.inputs]
        one_time = product.grant.mode == "one_time"
        slots = client.records()[1] if one_time else {}
        terms = write_terms(
            ask,
            subject=client.subject,
            epochs={name: (chain.epochs[name].epoch, chain.epochs[name].key_digest) for name in names},
            slots={name: sorted(s for s, slot in slots.items() if slot.context.collection == name) for name in names},
            separate_consent=sensitive_collections(ask.listed),
            notice=notice_of(ask, "zh", answer_shown=answer_shown),
            now=now,
        )
        broker_key = key_bytes(ask.grant_key.content.key, 1216)
        digest = client.grant(canonical(terms.model_dump(mode="json")), broker_key, slots)
        self.grants[ask.listed.product.digest] = digest
        self.scopes[ask.listed.product.digest] = [] if one_time else names
        return digest

    def withdraw(self, product_digest: str) -> str:
        return self.client.withdraw(self.grants[product_digest], self.scopes[product_digest])


def rule(label: str, product_id: str) -> str:
    """80 % grant, 15 % refuse, 5 % grant and then withdraw: the same for the same person and product, always."""
    draw = int.from_bytes(hashlib.sha256(f"{label}/{product_id}".encode()).digest()[:4], "big") % 100
    return "grant" if draw < 80 else "refuse" if draw < 95 else "withdraw"


def create(
    label: str,
    space: str,
    collections: list[str],
    numbers: dict[str, str],
    http: httpx.Client,
    pins: ClientPins,
    clock: Callable[[], float],
) -> Person:
    client, _words = ResidentClient.create(http, pins, collections, "zh", clock)
    return Person(label, space, collections, numbers, client)
