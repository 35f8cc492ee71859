from __future__ import annotations

import base64

import pytest

from dataspace.kernel.errors import MalformedError, SignatureInvalidError
from dataspace.kernel.jws import SigningKey, verify_raw
from dataspace.kernel.note import (
    COSIGNATURE_V1,
    ED25519,
    Checkpoint,
    WitnessMissingError,
    cosign,
    key_id,
    parse_body,
    parse_checkpoint,
    parse_note,
    parse_signature_line,
    sign_checkpoint,
    std_unb64,
    verifier_key,
    verify_checkpoint,
    verify_cosignature,
)

LOG = SigningKey(bytes(range(32)))
WITNESS = SigningKey(bytes([7]) * 32)
OTHER = SigningKey(bytes([8]) * 32)
ORIGIN = "example.com/behind-the-sofa"
CHECKPOINT = Checkpoint(ORIGIN, 20852163, bytes(range(32)))
NOTE = sign_checkpoint(CHECKPOINT, LOG)
COSIGNED = NOTE + cosign(CHECKPOINT.body(), "witness.example/w1", WITNESS, 1679315147)
WITNESSES = {"witness.example/w1": WITNESS.public}

GO_NOTE = (  # golang.org/x/mod/sumdb/note, note_test.go and package documentation
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
C2SP_EXAMPLE = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe"
    "+mbIUBkBIfZ+qnA==\n"
)


def test_a_note_signed_by_go() -> None:
    name, key_hash, material = GO_KEY.split("+", 2)
    public = base64.b64decode(material)[1:]
    assert key_id(name, ED25519, public).hex() == key_hash
    assert verifier_key(name, ED25519, public) == GO_KEY
    body, signatures = parse_note(GO_NOTE)
    assert signatures[0].key_id == key_id(name, ED25519, public)
    assert signatures[0].line() in GO_NOTE
    verify_raw(public, body.encode(), signatures[0].blob)


def test_the_example_of_c2sp_parses() -> None:
    body, signatures = parse_note(C2SP_EXAMPLE)
    assert parse_body(body).size == 20852163
    assert [item.name for item in signatures] == ["example.com/behind-the-sofa", "witness.example.com/w1"]
    assert int.from_bytes(signatures[1].blob[:8], "big") == 1679315147
    assert body + "\n" + "".join(item.line() for item in signatures) == C2SP_EXAMPLE


def test_signed_and_cosigned() -> None:
    assert parse_checkpoint(NOTE) == CHECKPOINT
    assert verify_checkpoint(NOTE, LOG.public, ORIGIN, {}, 0) == CHECKPOINT
    assert verify_checkpoint(COSIGNED, LOG.public, ORIGIN, WITNESSES, 1) == CHECKPOINT
    line = COSIGNED.splitlines(keepends=True)[-1]
    assert verify_cosignature(CHECKPOINT.body(), parse_signature_line(line), WITNESS.public) == 1679315147


def test_unknown_signatures_are_ignored() -> None:
    more = COSIGNED + cosign(CHECKPOINT.body(), "witness.example/w1", OTHER, 5)
    assert verify_checkpoint(more, LOG.public, ORIGIN, WITNESSES, 1) == CHECKPOINT


@pytest.mark.parametrize(
    ("witnesses", "quorum"),
    [
        ({}, 1),
        ({"witness.example/w1": OTHER.public}, 1),
        ({"witness.example/w2": WITNESS.public}, 1),
        (WITNESSES, 2),
    ],
)
def test_too_few_witnesses(witnesses: dict[str, bytes], quorum: int) -> None:
    with pytest.raises(WitnessMissingError):
        verify_checkpoint(COSIGNED, LOG.public, ORIGIN, witnesses, quorum)


def test_one_key_under_two_names_is_one_witness_and_the_log_is_none() -> None:
    twice = COSIGNED + cosign(CHECKPOINT.body(), "witness.example/w2", WITNESS, 5)
    names = WITNESSES | {"witness.example/w2": WITNESS.public}
    with pytest.raises(WitnessMissingError):
        verify_checkpoint(twice, LOG.public, ORIGIN, names, 2)
    own = NOTE + cosign(CHECKPOINT.body(), "self", LOG, 5)
    with pytest.raises(WitnessMissingError):
        verify_checkpoint(own, LOG.public, ORIGIN, {"self": LOG.public}, 1)


def test_signature_of_another_key_log_or_text() -> None:
    with pytest.raises(SignatureInvalidError, match="not signed by the log"):
        verify_checkpoint(NOTE, OTHER.public, ORIGIN, {}, 0)
    with pytest.raises(SignatureInvalidError, match="another log"):
        verify_checkpoint(NOTE, LOG.public, "example.com/other", {}, 0)
    with pytest.raises(SignatureInvalidError):
        verify_checkpoint(NOTE.replace("20852163", "20852164"), LOG.public, ORIGIN, {}, 0)


def test_every_changed_character_is_refused() -> None:
    for position, character in enumerate(COSIGNED):
        changed = COSIGNED[:position] + ("B" if character != "B" else "C") + COSIGNED[position + 1 :]
        with pytest.raises((SignatureInvalidError, MalformedError)):
            verify_checkpoint(changed, LOG.public, ORIGIN, WITNESSES, 1)


def test_a_bad_signature_of_a_known_key_spoils_the_note() -> None:
    bad = cosign(CHECKPOINT.body() + "x", "witness.example/w1", WITNESS, 1)
    with pytest.raises(SignatureInvalidError):
        verify_checkpoint(COSIGNED + bad, LOG.public, ORIGIN, WITNESSES, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no newline",
        "no signatures\n",
        "no signatures\n\n",
        NOTE.removesuffix("\n"),
        NOTE + "\n",
        NOTE.replace("\n", "\r\n"),
        NOTE + "x" * 65536 + "\n",
        NOTE + "- dash AAAAAAAA\n",
        NOTE + "— plus+sign AAAAAAAA\n",
        NOTE + "— no\u00a0break AAAAAAAA\n",
        NOTE + "— short AAAAAA==\n",
        NOTE + "— spelling AAAAAAB=\n",
        NOTE + "— padding AAAAA\n",
        NOTE + "— many AAAAAAAA\n" * 32,
        NOTE.replace("20852163", "020852163"),
        NOTE.replace("20852163", "-1"),
        NOTE.replace("20852163", ""),
        NOTE.replace("\n\n", "\nextension line\n\n"),
        NOTE.replace(base64.b64encode(bytes(range(32))).decode(), base64.b64encode(bytes(31)).decode()),
        NOTE.replace(ORIGIN + "\n", "\n", 1),
    ],
)
def test_malformed_checkpoints(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_checkpoint(text)


def test_names_that_would_break_the_line() -> None:
    for name in ("", "a b", "a+b", "a\nb"):
        with pytest.raises(MalformedError):
            cosign("x\n", name, WITNESS, 1)
        with pytest.raises(MalformedError):
            sign_checkpoint(Checkpoint(name, 0, bytes(32)), LOG)


def test_odd_cosignatures() -> None:
    good = parse_signature_line(COSIGNED.splitlines(keepends=True)[-1])
    assert good.key_id == key_id("witness.example/w1", COSIGNATURE_V1, WITNESS.public)
    for blob in (good.blob[:-1], bytes([0x80]) + good.blob[1:]):
        with pytest.raises(SignatureInvalidError):
            verify_cosignature(CHECKPOINT.body(), type(good)(good.name, good.key_id, blob), WITNESS.public)
    with pytest.raises(MalformedError):
        parse_signature_line("— a AAAAAAAA")
    with pytest.raises(MalformedError):
        std_unb64("ü")
