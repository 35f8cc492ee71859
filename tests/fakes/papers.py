"""One small district on paper: every signed and sealed object once, from fixed seeds. Vectors and tests build on it.

Nothing here is random but the encapsulations of HPKE.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from connectors.attestation import Ear, Evidence
from consent.asking import Ask, ListedProduct, notice_of, verify_grant_key, verify_product, verify_request, write_terms
from consent.model import (
    Cohort,
    Computation,
    GrantKey,
    GrantTerms,
    GrantTermsSigned,
    Input,
    Product,
    Refusal,
    Subject,
    UseRequest,
    Window,
    Withdrawal,
    grant_set,
)
from consent.receipts import write_receipt
from dataspace.flows.deliver import Delivery
from dataspace.kernel.encoding import b64, canonical, digest
from dataspace.kernel.jws import SigningKey
from dataspace.kernel.signed import Text
from dataspace.standard.register import Anchor, Licence, Listing, Source
from vault.envelope import SlotContext
from vault.granting import SealedSlot
from vault.keyring import Keyring
from vault.records import Record, sign_record
from vault.statements import KeyChain
from vault.suite1 import OpeningKey

NOW = 1_760_000_000
WAGES = "wages"
FIELDS = ("month", "net_amount")


def seed(label: str) -> bytes:
    """32 bytes that anybody can make again."""
    return hashlib.sha256(f"pds test seed: {label}".encode()).digest()


def signing_key(label: str) -> SigningKey:
    return SigningKey(seed(f"signing key of {label}"))


def short_id(label: str) -> str:
    """As ``random_id``: 16 bytes."""
    return b64(seed(f"id {label}")[:16])


def seeds(label: str) -> Callable[[], bytes]:
    """In place of ``vault.suite1.new_key``."""
    drawn = iter(range(1000))
    return lambda: seed(f"{label} {next(drawn)}")


REGISTRAR, OPERATOR, SOURCE = signing_key("registrar"), signing_key("operator"), signing_key("source")
BROKER, SERVICE, NODE = signing_key("broker"), signing_key("service"), signing_key("node")
SOURCE_ID, OPERATOR_ID = "tax", "demo-bank"
GRANT_SEED, RESULT_SEED = seed("grant key"), seed("result key")


def keyring(collections: tuple[str, ...] = (WAGES,), label: str = "resident") -> Keyring:
    return Keyring.create(list(collections), NOW, seeds(label))


def chain_of(ring: Keyring) -> KeyChain:
    assert ring.chain is not None
    return ring.chain


RING = keyring()
EPOCH = chain_of(RING).epochs[WAGES]
PLACE = SlotContext(short_id("slot"), WAGES, EPOCH.key_digest, SOURCE_ID)
SLOT_KEY = seed("slot key")
RECORD_ID = short_id("record")
DATA = canonical({"month": "2025-09", "net_amount": 612_300})
RECORD = Record(
    record_id=RECORD_ID,
    collection=WAGES,
    schema="wages/1",
    source_id=SOURCE_ID,
    link_id=short_id("link"),
    sequence=1,
    supersedes=None,
    issued_at=NOW,
    data={"month": "2025-09", "net_amount": 612_300},
)
PAYLOAD = sign_record(SOURCE, RECORD, PLACE.epoch_key, DATA)

_DATES = {"not_before": NOW - 1000, "not_after": NOW + 10_000_000}
REGISTERED_SOURCE = Source(
    source_id=SOURCE_ID, name=Text(zh="税务", en="Tax"), key=b64(SOURCE.public), collections=(WAGES,), **_DATES
)
ANCHOR = Anchor(kind="sw-dev", name="node-1", key=b64(NODE.public), **_DATES)
LICENCE = Licence(
    licence_id=short_id("licence"),
    number="DEMO-1",
    operator_id=OPERATOR_ID,
    name=Text(zh="示范银行", en="Demonstration bank"),
    key=b64(OPERATOR.public),
    purposes=("CreditChecking", "AcademicResearch"),
    collections=(WAGES, "vitals"),
    **_DATES,
)


def product(**changes: Any) -> Product:
    """A one-time question about wages; ``changes`` replace members."""
    content = {
        "product_id": short_id("product"),
        "version": 1,
        "operator_id": OPERATOR_ID,
        "kind": "individual",
        "name": Text(zh="收入证明", en="Proof of income"),
        "sentence": Text(zh="我同意银行问一次。", en="I agree that the bank asks once."),
        "purpose": "CreditChecking",
        "inputs": (
            Input(collection=WAGES, schema_id="wages/1", fields=FIELDS, window=Window(field="month", months=12)),
        ),
        "computation": Computation(language="cel", text="'unknown'", parameters={"least_months": 9}),
        "output": {"answers": ["yes", "no", "unknown"]},
        "grant": GrantTerms(mode="one_time", days=7, uses=1),
        "least_node_class": "sw-dev",
        "cohort": None,
    }
    return Product(**(content | changes))


ONGOING: Mapping[str, Any] = {
    "product_id": short_id("cohort product"),
    "kind": "cohort",
    "grant": GrantTerms(mode="ongoing", days=90, uses=3),
    "cohort": Cohort(space="demo-district", collections=(WAGES,)),
}


def listing(listed: Product, **changes: Any) -> Listing:
    content = {
        "product_digest": listed.digest(),
        "product_id": listed.product_id,
        "version": listed.version,
        "operator_id": listed.operator_id,
        "reviewers": ("reviewer-1", "reviewer-2"),
        **_DATES,
    }
    return Listing(**(content | changes))


def listed_product(**changes: Any) -> ListedProduct:
    made = product(**changes)
    return verify_product(LICENCE.sign(REGISTRAR), made.sign(OPERATOR), listing(made).sign(REGISTRAR), REGISTRAR.public)


def use_request(listed: ListedProduct, **changes: Any) -> UseRequest:
    content = listed.product.content
    handle = short_id("handle") if content.kind == "individual" else None
    made = {
        "request_id": short_id("request"),
        "operator_id": OPERATOR_ID,
        "product_digest": listed.product.digest,
        "purpose": content.purpose,
        "parameters": content.computation.parameters,
        "subject": Subject(kind=content.kind, handle=handle),
        "result_key": b64(OpeningKey(RESULT_SEED).public),
        "nonce": short_id("request nonce"),
        "issued_at": NOW,
        "not_after": NOW + 86_400,
    }
    return UseRequest(**(made | changes))


def grant_key(request_digest: str, **changes: Any) -> GrantKey:
    made = {
        "broker_id": "broker-1",
        "key_id": short_id("grant key"),
        "key": b64(OpeningKey(GRANT_SEED).public),
        "request_digest": request_digest,
        "not_after": NOW + 86_400,
    }
    return GrantKey(**(made | changes))


def ask(**changes: Any) -> Ask:
    """A verified question about :func:`product` with ``changes``."""
    listed = listed_product(**changes)
    request = verify_request(listed, use_request(listed).sign(OPERATOR))
    key = grant_key(request.digest).sign(BROKER)
    return Ask(listed, request, verify_grant_key(key, BROKER.public, request.digest, NOW))


def terms(asked: Ask, ring: Keyring = RING, **changes: Any) -> GrantTermsSigned:
    """What ``ring``'s resident agrees to; the grant's id is fixed."""
    chain = chain_of(ring)
    names = [item.collection for item in asked.listed.product.content.inputs]
    written = write_terms(
        asked,
        subject=ring.subject,
        epochs={name: (chain.epochs[name].epoch, chain.epochs[name].key_digest) for name in names},
        slots={name: [PLACE.slot_id] for name in names},
        separate_consent=(),
        notice=notice_of(asked, "zh", answer_shown=True),
        now=NOW,
    )
    return written.model_copy(update={"grant_id": short_id("grant"), **changes})


def slots(sealed: bytes) -> dict[str, SealedSlot]:
    return {PLACE.slot_id: SealedSlot(PLACE, sealed)}


def refusal(request_digest: str) -> Refusal:
    return Refusal(request_digest=request_digest, subject=RING.subject, issued_at=NOW, nonce=short_id("refusal"))


def withdrawal(grant_digest: str, statement: str | None = None) -> Withdrawal:
    return Withdrawal(grant_digest=grant_digest, subject=RING.subject, key_statement=statement, issued_at=NOW)


def receipt(grant_digest: str) -> str:
    return write_receipt(
        SERVICE,
        status="granted",
        receipt_id=digest("test", "entry"),
        subject=RING.subject,
        controller="示范区数据局",
        recipient=OPERATOR_ID,
        purpose="CreditChecking",
        about={"grant_digest": grant_digest},
        at=NOW,
        proof={"entry": digest("test", "entry")},
    )


def evidence(request_digest: str, grants: list[str], **changes: Any) -> Evidence:
    made = {
        "kind": "sw-dev",
        "nonce": short_id("nonce"),
        "run_id": short_id("run"),
        "hpke_key": b64(OpeningKey(seed("node hpke")).public),
        "sign_key": b64(signing_key("node run").public),
        "request_digest": request_digest,
        "grant_set": grant_set(grants),
        "policy_digest": digest("test", "policy"),
        "anchors_digest": digest("test", "anchors"),
        "measurement": digest("test", "measurement"),
        "isolation": "bwrap+seccomp",
        "issued_at": NOW,
    }
    return Evidence(**(made | changes))


def ear(shown: Evidence) -> Ear:
    return Ear(
        profile="tag:github.com,2023:veraison/ear",
        status="affirming",
        vector={"instance-identity": 2, "hardware": 0},
        kind="sw-dev",
        node_class="sw-dev",
        isolation=shown.isolation,
        node_sign_key=shown.sign_key,
        node_hpke_key=shown.hpke_key,
        nonce=shown.nonce,
        run_id=shown.run_id,
        request_digest=shown.request_digest,
        grant_set=shown.grant_set,
        policy_digest=shown.policy_digest,
        issued_at=NOW,
        not_after=NOW + 300,
    )


def delivery(items: list[dict[str, Any]]) -> Delivery:
    return Delivery(
        source_id=SOURCE_ID,
        delivery_id=short_id("delivery"),
        number=1,
        items=digest("delivery-items", canonical(items)),
        issued_at=NOW,
    )
