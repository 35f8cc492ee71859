"""The committed vectors of suite 1, by our code and by code that is not ours (joserfc, cryptography, BIP-39)."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jws as jose
from joserfc.errors import BadSignatureError
from joserfc.jwk import OKPKey
from joserfc.registry import HeaderParameter
from mnemonic import Mnemonic

from connectors.attestation import Ear, Evidence
from consent.model import (
    Grant,
    GrantKey,
    GrantState,
    Product,
    Refusal,
    SubjectHead,
    UseRequest,
    Withdrawal,
)
from dataspace.flows.deliver import Delivery
from dataspace.kernel.encoding import b64, canonical, digest, frame, parse_canonical, unb64
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.jws import SigningKey, fingerprint, verify
from dataspace.kernel.signed import SignedContent
from dataspace.standard.register import Anchor, Licence, Listing, Source
from tests.vectors import generate
from vault import keyring, recovery, suite1
from vault.envelope import SlotContext, open_record, open_slot, pack, record_aad, record_key, unpack
from vault.granting import GrantKeyContext, open_grant_key
from vault.records import read_record
from vault.recovery import LANGUAGES, entropy_of
from vault.statements import follow
from vault.suite1 import OpeningKey, SealingKey, derive, epoch_key_digest

Case = dict[str, Any]
VECTORS = Path(__file__).parents[1] / "vectors" / "suite1"
_KINDS = (
    *(Product, UseRequest, Grant, Refusal, Withdrawal, GrantKey, GrantState, SubjectHead),
    *(Source, Licence, Listing, Anchor, Evidence, Ear, Delivery),
)
KINDS: dict[str, type[SignedContent]] = {kind.typ: kind for kind in _KINDS}


def all_cases() -> Iterator[Any]:
    for path in sorted(VECTORS.glob("*.json")):
        content = json.loads(path.read_text("utf-8"))
        for case in content.get("cases", ()):
            yield pytest.param(content["operation"], case, id=f"{path.stem}: {case['name']}")


def succeeding(operation: str) -> list[Case]:
    cases = json.loads((VECTORS / f"{operation}.json").read_text("utf-8"))["cases"]
    return [case for case in cases if case["expect"] == "success"]


def place_of(case: Case) -> SlotContext:
    return SlotContext(case["slot_id"], case["collection"], case["epoch_key"], case["source_id"])


# one function an operation: reads a case, answers the members that have to be in it


def run_frame(case: Case) -> Case:
    parts = [unb64(part) if kind == "bytes" else part for part, kind in zip(case["fields"], case["kinds"], strict=True)]
    return {"frame": b64(frame(case["use"], *parts)), "digest": digest(case["use"], *parts)}


def run_b64(case: Case) -> Case:
    return {"hex": unb64(case["text"], size=case.get("size")).hex()}


def run_canonical(case: Case) -> Case:
    return {"json": b64(canonical(parse_canonical(unb64(case["json"]))))}


def run_keys(case: Case) -> Case:
    if "signing_seed" in case:
        key = SigningKey(unb64(case["signing_seed"]))
        return {"public": b64(key.public), "kid": fingerprint(key.public)}
    if "seed" in case:
        public = OpeningKey(unb64(case["seed"])).public
        return {"public": b64(public), "digest": epoch_key_digest(public)}
    SealingKey(unb64(case["public"])).seal(b"", b"")
    return {}


def run_record(case: Case) -> Case:
    key = record_key(unb64(case["slot_key"]), case["record_id"])
    payload = open_record(key, case["record_id"], place_of(case), unb64(case["sealed"]))
    aad = record_aad(case["record_id"], case["slot_id"], case["collection"], case["epoch_key"])
    sealed = suite1._aead_seal(key, aad, payload, unb64(case["nonce"]))
    return {"record_key": b64(key), "payload": b64(payload), "sealed": b64(sealed)}


def run_slot(case: Case) -> Case:
    return {"opened": b64(open_slot(OpeningKey(unb64(case["seed"])), place_of(case), unb64(case["sealed"])))}


def run_grant_key(case: Case) -> Case:
    names = ("grant_digest", "collection", "epoch_key", "kind", "slot")
    context = GrantKeyContext(*(case[name] for name in names))
    return {"opened": b64(open_grant_key(OpeningKey(unb64(case["seed"])), context, unb64(case["sealed"])))}


def run_wrap(case: Case) -> Case:
    key, wrap, name, number = unb64(case["key"]), unb64(case["wrap"]), case["name_in_wrap"], case["number"]
    if case["kind"] == "vault-key" and number == 0:
        return {"opened": b64(recovery.unwrap_vault_key(key, name, wrap))}
    wrapping = keyring._wrapping_key(key)
    return {"opened": b64(suite1.aead_open(wrapping, keyring._aad(case["kind"], name, number), wrap))}


def run_recovery_words(case: Case) -> Case:
    return {"entropy": b64(entropy_of(case["words"], case["language"]))}


def run_key_chain(case: Case) -> Case:
    chain = follow(case["statements"], case["subject"])
    return {"number": chain.number, "head": chain.head, "subject": chain.subject}


def run_record_proof(case: Case) -> Case:
    data = unb64(case["data"])
    record = read_record(pack(data, case["proof"]), case["record_id"], place_of(case), unb64(case["key"]))
    return {"data": b64(canonical(record.data)), "record_id": record.record_id}


def run_pack(case: Case) -> Case:
    data, proof = unpack(unb64(case["payload"]))
    return {"data": b64(data), "proof": proof, "payload": b64(pack(data, proof)), "size": len(pack(data, proof))}


def run_signed(case: Case) -> Case:
    key, kind = unb64(case["key"]), KINDS.get(case["typ"])
    if kind is not None:
        return {"digest": kind.verify(case["token"], key).digest()}
    return {"digest": digest(case["typ"], verify(case["token"], case["typ"], key).payload_bytes)}


OPERATIONS: dict[str, Callable[[Case], Case]] = {
    "frame": run_frame,
    "b64": run_b64,
    "canonical": run_canonical,
    "keys": run_keys,
    "record": run_record,
    "slot": run_slot,
    "grant-key": run_grant_key,
    "wrap": run_wrap,
    "recovery-words": run_recovery_words,
    "key-chain": run_key_chain,
    "record-proof": run_record_proof,
    "pack": run_pack,
    "jws": run_signed,
    "signed": run_signed,
}


@pytest.mark.parametrize(("operation", "case"), list(all_cases()))
def test_vector(operation: str, case: Case) -> None:
    if case["expect"] == "success":
        found = OPERATIONS[operation](case)
        assert found == {name: case[name] for name in found}
        assert found
    else:
        with pytest.raises(DataspaceError) as refused:
            OPERATIONS[operation](case)
        assert refused.value.code == case["expect"]


def test_every_operation_has_vectors_that_succeed_and_the_generator_knows_them_all() -> None:
    assert OPERATIONS.keys() == generate.FILES.keys() == {path.stem for path in VECTORS.glob("*.json")} - {"samples"}
    assert all(succeeding(name) for name in OPERATIONS.keys() - {"jws"})


# the generator


def test_the_committed_files_are_what_the_generator_writes() -> None:
    assert generate.main(["--check"]) == 0


def test_a_changed_or_missing_file_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(VECTORS, tmp_path / "suite1")
    monkeypatch.setattr(generate, "HERE", tmp_path / "suite1")
    monkeypatch.setattr(generate, "SAMPLES", tmp_path / "suite1" / "samples.json")
    assert generate.main(["--check"]) == 0
    (tmp_path / "suite1" / "slot.json").unlink()
    (tmp_path / "suite1" / "pack.json").write_text("{}")
    assert generate.main(["--check"]) == 1
    assert {"slot.json", "pack.json"} <= {
        Path(line.split(" ")[0]).name for line in capsys.readouterr().err.splitlines()
    }
    generate.SAMPLES.write_text(generate.SAMPLES.read_text().replace("AQ", "Ag", 1))
    assert generate.main(["--check"]) == 1
    assert "samples.json" in capsys.readouterr().err
    generate.SAMPLES.unlink()
    assert generate.main(["--check"]) == 1
    assert not generate.SAMPLES.exists()


# judges from outside


def jose_payload(token: str, public: bytes) -> bytes:
    key = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": b64(public)})
    registry = jose.JWSRegistry(
        {"typ": HeaderParameter("type", "str")}, algorithms=["Ed25519"], strict_check_header=True
    )
    return jose.deserialize_compact(token, key, registry=registry).payload


@pytest.mark.parametrize("case", succeeding("signed"), ids=lambda case: case["name"])
def test_joserfc_verifies_what_we_sign(case: Case) -> None:
    assert digest(case["typ"], jose_payload(case["token"], unb64(case["key"]))) == case["digest"]


def test_joserfc_refuses_what_is_not_signed_so() -> None:
    cases = json.loads((VECTORS / "signed.json").read_text("utf-8"))["cases"]
    ends = ("changed payload", "another key's signature", "signed by another key")
    wrong = [case for case in cases if case["name"].endswith(ends)]
    assert len(wrong) == 3 * len(succeeding("signed"))
    for case in wrong:
        with pytest.raises(BadSignatureError):
            jose_payload(case["token"], unb64(case["key"]))


def test_joserfc_verifies_the_statements_of_a_chain_and_the_source_in_a_record() -> None:
    for token in succeeding("key-chain")[-1]["statements"][:3]:
        jose_payload(token, generate.papers.RING.signing.public)
    proof = succeeding("record-proof")[0]
    claims = json.loads(jose_payload(proof["proof"], unb64(proof["key"])))
    assert claims["data"] == digest("record-data", unb64(proof["data"]))


def fresh_opening_key(seed: bytes) -> MLKEM768X25519PrivateKey:
    """X-Wing's key expansion, written a second time."""
    expanded = hashlib.shake_256(seed).digest(96)
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])
    )


def test_a_fresh_hpke_suite_opens_the_samples() -> None:
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    for name, (seed, info, message) in generate.SEALED.items():
        sealed = generate.samples(make=False)[name]
        assert sealed[:2] == b"\1\1"
        assert suite.decrypt(sealed[2:], fresh_opening_key(seed), info) == message
        assert len(sealed) == len(message) + suite1.HPKE_OVERHEAD


def test_a_seed_expands_as_in_the_draft_of_x_wing() -> None:
    """draft-connolly-cfrg-xwing-kem, appendix C, first vector: seed, and both ends of its public key."""
    public = OpeningKey(bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")).public
    assert public[:32].hex() == "e2236b35a8c24b39b10aa1323a96a919a2ced88400633a7b07131713fc14b2b5"
    assert public[-16:].hex() == "23593d4ba32d9abac8cd049040ef6534"


@pytest.mark.parametrize("info", [b"", b"info", bytes(300)])
def test_derive_is_hkdf(info: bytes) -> None:
    key = generate.papers.SLOT_KEY
    assert derive(key, info) == HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key)


def test_the_words_of_zero_entropy_are_those_of_bip_39() -> None:
    zero = "abandon " * 23 + "art"
    assert entropy_of(zero, "en") == bytes(32)
    assert Mnemonic(LANGUAGES["zh"]).to_mnemonic(bytes(32)) == "的 " * 23 + "性"
    assert entropy_of("的 " * 23 + "性", "zh") == bytes(32)
