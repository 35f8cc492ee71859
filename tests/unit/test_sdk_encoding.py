"""The SDK's own encoding, signatures, proofs and opening say the same as the service's (docs/formats.md)."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from dataspace_sdk import encoding as sdk_encoding
from dataspace_sdk import errors
from dataspace_sdk import jws as sdk_jws
from dataspace_sdk import log as sdk_log
from dataspace_sdk.hpke import ResultKey
from hypothesis import given
from hypothesis import strategies as st

from dataspace.kernel import encoding, jws, logproof, merkle, note
from dataspace.kernel.errors import DataspaceError
from tests.sdk.rfc6962 import inclusion
from vault.suite1 import OpeningKey, SealingKey

SEED = bytes(range(32))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.lists(st.binary(max_size=40) | st.text(max_size=20) | st.integers(0, 2**64 - 1), max_size=5)


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_canonical_json_is_the_services(value: dict[str, Any]) -> None:
    written = sdk_encoding.canonical(value)
    assert written == encoding.canonical(value)
    assert sdk_encoding.parse_canonical(written) == value


@given(FIELDS)
def test_frames_and_digests_are_the_services(fields: list[bytes | str | int]) -> None:
    assert sdk_encoding.frame("some-use", *fields) == encoding.frame("some-use", *fields)
    assert sdk_encoding.digest("some-use", *fields) == encoding.digest("some-use", *fields)


@given(st.binary(max_size=70))
def test_base64url_is_the_services(data: bytes) -> None:
    assert sdk_encoding.b64(data) == encoding.b64(data)
    assert sdk_encoding.unb64(encoding.b64(data)) == data


@pytest.mark.parametrize("text", ["A", "AB", "AA==", "A+A=", "AA\n", "é", "AAAA AAAA", 7, None])
def test_other_spellings_of_base64url_are_refused_by_both(text: Any) -> None:
    with pytest.raises(errors.MalformedError):
        sdk_encoding.unb64(text)
    with pytest.raises(DataspaceError):
        encoding.unb64(text)


@pytest.mark.parametrize(
    "data",
    [
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1,"a":1}',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":NaN}',
        b'{"a":9007199254740992}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\ud800"}',
        b"[1]",
        b"",
        b"\xff",
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
    ],
)
def test_anything_but_the_one_encoding_is_refused(data: bytes) -> None:
    with pytest.raises(errors.MalformedError):
        sdk_encoding.parse_canonical(data)


def test_each_verifies_what_the_other_signs() -> None:
    ours, theirs = sdk_jws.SigningKey(SEED), jws.SigningKey(SEED)
    payload = {"name": "名", "count": 3}
    assert ours.sign("thing", payload) == theirs.sign("thing", payload)
    assert (ours.public, ours.kid) == (theirs.public, theirs.kid)
    assert sdk_jws.verify(theirs.sign("thing", payload), "thing", theirs.public).payload["name"] == "名"
    assert jws.verify(ours.sign("thing", payload), "thing", ours.public).payload["count"] == 3


def test_every_changed_character_of_a_signed_object_is_refused() -> None:
    key = jws.SigningKey(SEED)
    token = key.sign("thing", {"count": 3})
    for place, letter in enumerate(token):
        changed = token[:place] + ("A" if letter != "A" else "B") + token[place + 1 :]
        with pytest.raises((errors.MalformedError, errors.SignatureInvalidError)):
            sdk_jws.verify(changed, "thing", key.public)


def test_another_type_key_version_or_size_is_refused() -> None:
    key = sdk_jws.SigningKey(SEED)
    token = key.sign("thing", {"count": 3})
    with pytest.raises(errors.SignatureInvalidError):
        sdk_jws.verify(token, "other", key.public)
    with pytest.raises(errors.SignatureInvalidError):
        sdk_jws.verify(token, "thing", sdk_jws.SigningKey(bytes(32)).public)
    with pytest.raises(errors.MalformedError):
        sdk_jws.parse(token, limit=len(token) - 1)
    header = sdk_encoding.canonical({"alg": "Ed25519", "kid": jws.fingerprint(bytes(32)), "typ": "pds-thing+jws"})
    signing_input = f"{sdk_encoding.b64(header)}.{token.split('.')[1]}"
    misnamed = f"{signing_input}.{sdk_encoding.b64(jws.SigningKey(SEED).sign_raw(signing_input.encode()))}"
    with pytest.raises(errors.SignatureInvalidError):
        sdk_jws.verify(misnamed, "thing", key.public)
    for version in (2, True):
        named, _, signature = token.split(".")
        body = sdk_encoding.b64(sdk_encoding.canonical({"v": version, "suite": 1}))
        with pytest.raises(errors.UnknownFormatError):
            sdk_jws.parse(f"{named}.{body}.{signature}")


def test_a_key_pair_from_a_seed_is_the_vaults_and_opens_what_it_seals() -> None:
    ours, theirs = ResultKey(SEED), OpeningKey(SEED)
    assert ours.public == theirs.public
    sealed = SealingKey(ours.public).seal(b"info", b"message")
    assert ours.open(b"info", sealed) == b"message"
    for broken, info in (
        (sealed, b"other"),
        (sealed[:-1] + bytes((sealed[-1] ^ 1,)), b"info"),
        (b"\x01\x02" + sealed[2:], b"info"),
        (sealed[:40], b"info"),
        (b"", b"info"),
    ):
        with pytest.raises(errors.CannotOpenError):
            ours.open(info, broken)
    with pytest.raises(errors.CannotOpenError):
        ResultKey(bytes(32)).open(b"info", sealed)


def test_inclusion_in_every_small_tree() -> None:
    leaves = [merkle.leaf_hash(bytes((number,))) for number in range(20)]
    for size in range(1, len(leaves) + 1):
        root = merkle.root(leaves[:size])
        for index in range(size):
            proof = inclusion(leaves[:size], index)
            merkle.verify_inclusion(leaves[index], index, size, proof, root)
            sdk_log.verify_inclusion(leaves[index], index, size, proof, root)
            for wrong_index, wrong_size, wrong in (
                (index, size, [*proof, root]),
                (index, size, [bytes(32), *proof[1:]] if proof else [root]),
                (size, size, proof),
                (-1, size, proof),
                (index, size, [root] * 64),
            ):
                with pytest.raises(errors.ProofInvalidError):
                    sdk_log.verify_inclusion(leaves[index], wrong_index, wrong_size, wrong, root)
            with pytest.raises(errors.ProofInvalidError):
                sdk_log.verify_inclusion(bytes(32), index, size, proof, root)


def test_leaf_hash_is_the_services() -> None:
    assert sdk_log.leaf_hash(SEED[:16], b"{}") == merkle.leaf_hash(logproof.leaf_data(SEED[:16], b"{}"))


LOG, ONE, TWO = (jws.SigningKey(bytes((number,)) * 32) for number in (1, 2, 3))
ORIGIN = "example.com/log"
HEAD = note.Checkpoint(ORIGIN, 7, SEED)
SIGNED = note.sign_checkpoint(HEAD, LOG)
BY_ONE = note.cosign(HEAD.body(), "w/1", ONE, 5)
BY_TWO = note.cosign(HEAD.body(), "w/2", TWO, 5)
WITNESSES = {"w/1": ONE.public, "w/2": TWO.public}


def test_a_witnessed_checkpoint_of_the_service() -> None:
    found = sdk_log.verify_checkpoint(SIGNED + BY_ONE + BY_TWO, LOG.public, ORIGIN, WITNESSES, 2)
    assert (found.origin, found.size, found.root, found.witnesses) == (ORIGIN, 7, SEED, ("w/1", "w/2"))
    stranger = note.cosign(HEAD.body(), "w/3", jws.SigningKey(SEED), 5)
    assert sdk_log.verify_checkpoint(SIGNED + stranger + BY_ONE, LOG.public, ORIGIN, WITNESSES, 1).witnesses == ("w/1",)


def test_too_few_witnesses_are_missed() -> None:
    same_twice = {"w/1": ONE.public, "w/2": ONE.public}
    log_itself = {"w/1": LOG.public}
    for text, witnesses, quorum in (
        (SIGNED, WITNESSES, 1),
        (SIGNED + BY_ONE, WITNESSES, 2),
        (SIGNED + BY_ONE + note.cosign(HEAD.body(), "w/2", ONE, 5), same_twice, 2),
        (SIGNED + note.cosign(HEAD.body(), "w/1", LOG, 5), log_itself, 1),
    ):
        with pytest.raises(errors.WitnessMissingError):
            sdk_log.verify_checkpoint(text, LOG.public, ORIGIN, witnesses, quorum)


def test_false_checkpoints_are_refused() -> None:
    other = note.Checkpoint(ORIGIN, 8, SEED)
    of_other = f"{other.body()}\n{SIGNED.rpartition(chr(10) * 2)[2]}" + note.cosign(other.body(), "w/1", ONE, 5)
    elsewhere = note.Checkpoint("example.com/other", 7, SEED).body()
    line = note.NoteSignature(ORIGIN, note.key_id(ORIGIN, 1, LOG.public), LOG.sign_raw(elsewhere.encode())).line()
    misnamed = f"{elsewhere}\n{line}" + note.cosign(elsewhere, "w/1", ONE, 5)
    forged = base64.b64encode(note.key_id("w/1", 4, ONE.public) + bytes(72)).decode()
    for text in (
        of_other,
        misnamed,
        note.sign_checkpoint(HEAD, ONE) + BY_ONE,
        note.sign_checkpoint(note.Checkpoint("example.com/other", 7, SEED), LOG) + BY_ONE,
        note.sign_checkpoint(other, LOG) + BY_ONE,
        SIGNED + BY_ONE + f"— w/1 {forged}\n",
        SIGNED.replace("\n7\n", "\n8\n") + BY_ONE,
    ):
        with pytest.raises(errors.SignatureInvalidError):
            sdk_log.verify_checkpoint(text, LOG.public, ORIGIN, WITNESSES, 1)
    extended = f"{HEAD.body()}extension\n\n" + SIGNED.split("\n\n")[1]
    for text in (
        "",
        "x",
        SIGNED[:-1],
        SIGNED + "no line\n",
        HEAD.body() + "\n",
        extended,
        SIGNED.replace("\n7\n", "\n07\n"),
    ):
        with pytest.raises(errors.MalformedError):
            sdk_log.verify_checkpoint(text, LOG.public, ORIGIN, WITNESSES, 1)
