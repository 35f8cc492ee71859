"""Consent receipts: signed records of a grant, refusal or withdrawal, shaped as ISO/IEC TS 27560 over DPV terms.

Verifiable offline: JWS by the service, with the log's proof bundle inside.
"""

from __future__ import annotations

from typing import Any, Literal

from dataspace.kernel.jws import SigningKey
from dataspace.standard import purpose as purpose_of

TYP = "receipt"
_STATUS = {
    "granted": "https://w3id.org/dpv#ConsentGiven",
    "refused": "https://w3id.org/dpv#ConsentRefused",
    "withdrawn": "https://w3id.org/dpv#ConsentWithdrawn",
}
Status = Literal["granted", "refused", "withdrawn"]


def write_receipt(
    key: SigningKey,
    *,
    status: Status,
    receipt_id: str,
    subject: str,
    controller: str,
    recipient: str,
    purpose: str,
    about: dict[str, Any],
    at: int,
    proof: dict[str, Any],
) -> str:
    """Signed receipt. ``about`` names what it is about (grant or request digest, period); no raw identity is in it."""
    payload = {
        "@context": "https://w3id.org/dpv",
        "@type": "https://w3id.org/dpv#ConsentRecord",
        "schema_version": "ISO/IEC TS 27560:2023",
        "record_id": receipt_id,
        "pii_principal_id": subject,
        "event": {"state": _STATUS[status], "time": at},
        "controller": controller,
        "recipient": recipient,
        "purpose": purpose_of(purpose).iri,
        "about": about,
        "log": proof,
    }
    return key.sign(TYP, payload)
