from __future__ import annotations

from typing import Any

import pytest

from dataspace.audit.tree import Edge, Nodes, inclusion_ranges
from dataspace.kernel.encoding import b64, canonical, unb64
from dataspace.kernel.errors import DataspaceError, MalformedError
from dataspace.kernel.jws import SigningKey
from dataspace.kernel.logproof import LogGapError, leaf_data, open_entry, verify_entry, verify_subject_chain
from dataspace.kernel.merkle import ProofInvalidError, leaf_hash
from dataspace.kernel.note import Checkpoint, sign_checkpoint

LOG = SigningKey(bytes(32))
SALT = bytes(16)


def log_of(bodies: list[bytes]) -> tuple[list[dict[str, Any]], Checkpoint]:
    """Proof bundles of a log with these bodies, all salted with zeroes."""
    edge = Edge()
    hashes = [leaf_hash(leaf_data(SALT, body)) for body in bodies]
    nodes = Nodes(edge.extend(hashes))
    checkpoint = Checkpoint("log.example/1", len(bodies), edge.root())
    text = sign_checkpoint(checkpoint, LOG)
    bundles = [
        {
            "index": index,
            "salt": b64(SALT),
            "body": b64(body),
            "size": len(bodies),
            "inclusion": [b64(nodes.range_hash(item)) for item in inclusion_ranges(index, len(bodies))],
            "checkpoint": text,
        }
        for index, body in enumerate(bodies)
    ]
    return bundles, checkpoint


def entry(**fields: Any) -> bytes:
    return canonical({"v": 1, "kind": "link.registered", "at": 1_700_000_000, **fields})


def chain(subject: str, count: int) -> list[bytes]:
    bodies: list[bytes] = []
    previous = None
    for number in range(1, count + 1):
        bodies.append(entry(subject=subject, number=number, previous=previous))
        previous = b64(leaf_hash(leaf_data(SALT, bodies[-1])))
    return bodies


BUNDLES, CHECKPOINT = log_of([*chain("anna", 5), entry(note="about nobody"), *chain("bo", 2)])
ANNA = BUNDLES[:5]


def test_known_leaf() -> None:
    assert leaf_data(SALT, b"{}").hex() == (
        "0000000e7064732f6c6f672d6c6561662f31" + "000000020101" + "00000010" + "00" * 16 + "000000027b7d"
    )


def test_every_entry_opens() -> None:
    for bundle in BUNDLES:
        body = verify_entry(bundle, CHECKPOINT)
        assert canonical(body) == unb64(bundle["body"])
    opened = open_entry(BUNDLES[3], CHECKPOINT)
    assert (opened.index, opened.body["number"]) == (3, 4)


@pytest.mark.parametrize(
    "change",
    [
        {"index": 4},
        {"index": -1},
        {"index": 8},
        {"index": True},
        {"index": "3"},
        {"size": 7},
        {"size": 8.0},
        {"salt": b64(bytes(15) + b"\1")},
        {"salt": b64(bytes(15))},
        {"body": b64(entry(note="another"))},
        {"inclusion": []},
        {"inclusion": BUNDLES[2]["inclusion"]},
        {"inclusion": "x"},
        {"inclusion": [1, 2, 3]},
        {"checkpoint": None},
        {"checkpoint": sign_checkpoint(Checkpoint("log.example/2", 8, CHECKPOINT.root), LOG)},
        {"checkpoint": sign_checkpoint(Checkpoint("log.example/1", 9, CHECKPOINT.root), LOG)},
        {"more": 1},
    ],
)
def test_changed_bundles_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises((ProofInvalidError, MalformedError)):
        verify_entry(BUNDLES[3] | change, CHECKPOINT)


def test_missing_member_is_refused() -> None:
    for name in BUNDLES[0]:
        with pytest.raises(MalformedError):
            verify_entry({key: value for key, value in BUNDLES[0].items() if key != name}, CHECKPOINT)


def test_other_size_of_the_same_checkpoint_text() -> None:
    with pytest.raises(ProofInvalidError, match="another size"):
        verify_entry(BUNDLES[3] | {"size": 9}, CHECKPOINT)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"v":1, "kind":"x","at":1}',
        canonical({"kind": "x", "at": 1}),
        canonical({"v": 2, "kind": "x", "at": 1}),
        canonical({"v": True, "kind": "x", "at": 1}),
        canonical({"v": 1, "kind": 1, "at": 1}),
        canonical({"v": 1, "kind": "x", "at": "1"}),
        entry(subject="anna"),
        entry(subject="anna", number=1),
        entry(subject="anna", number=1, previous="x"),
        entry(subject="anna", number=2, previous=None),
        entry(subject="anna", number=0, previous=None),
        entry(subject="anna", number=True, previous=None),
        entry(subject="", number=1, previous=None),
        entry(subject=1, number=1, previous=None),
        entry(number=1, previous=None),
    ],
)
def test_logged_bodies_that_are_no_entries(body: bytes) -> None:
    bundles, checkpoint = log_of([body])
    with pytest.raises(MalformedError):
        verify_entry(bundles[0], checkpoint)


def test_whole_chain_and_its_continuation() -> None:
    verified = verify_subject_chain(ANNA, CHECKPOINT, "anna")
    assert [item.body["number"] for item in verified] == [1, 2, 3, 4, 5]
    rest = verify_subject_chain(ANNA[3:], CHECKPOINT, "anna", from_number=4, previous=verified[2].leaf_hash)
    assert [item.leaf_hash for item in rest] == [item.leaf_hash for item in verified[3:]]
    assert verify_subject_chain([], CHECKPOINT, "anna") == []


@pytest.mark.parametrize("missing", range(4))
def test_a_missing_entry_is_named(missing: int) -> None:
    with pytest.raises(LogGapError) as caught:
        verify_subject_chain(ANNA[:missing] + ANNA[missing + 1 :], CHECKPOINT, "anna")
    assert caught.value.extra == {"number": missing + 1}
    assert caught.value.code == "log_entry_missing"


def refused(entries: list[dict[str, Any]], **more: Any) -> DataspaceError:
    with pytest.raises(ProofInvalidError) as caught:
        verify_subject_chain(entries, CHECKPOINT, "anna", **more)
    return caught.value


def test_wrong_chains_are_refused() -> None:
    refused(BUNDLES[6:])
    refused(BUNDLES[5:6])
    refused([ANNA[0], ANNA[0]])
    refused(ANNA[3:], from_number=4, previous=b64(bytes(32)))
    refused(ANNA[3:], from_number=4)


def test_chain_against_the_order_of_the_log() -> None:
    first, second = chain("anna", 2)
    bundles, checkpoint = log_of([second, first])
    with pytest.raises(ProofInvalidError, match="order"):
        verify_subject_chain(bundles[::-1], checkpoint, "anna")


def test_forked_chain() -> None:
    first, second = chain("anna", 2)
    other = entry(subject="anna", number=1, previous=None, note="shown to somebody else")
    bundles, checkpoint = log_of([other, first, second])
    with pytest.raises(ProofInvalidError, match="does not follow"):
        verify_subject_chain([bundles[0], bundles[2]], checkpoint, "anna")


def test_a_head_that_others_vouch_for() -> None:
    hashes = [open_entry(item, CHECKPOINT).leaf_hash for item in ANNA]
    for number in range(1, 6):
        verify_subject_chain(ANNA, CHECKPOINT, "anna", head=(number, hashes[number - 1]))
        refused(ANNA, head=(number, b64(bytes(32))))
    with pytest.raises(LogGapError):
        verify_subject_chain(ANNA[:4], CHECKPOINT, "anna", head=(5, hashes[4]))
    with pytest.raises(LogGapError):
        verify_subject_chain([], CHECKPOINT, "anna", head=(1, hashes[0]))


def test_a_head_at_or_below_what_was_known_before() -> None:
    hashes = [open_entry(item, CHECKPOINT).leaf_hash for item in ANNA]
    later: dict[str, Any] = {"from_number": 4, "previous": hashes[2]}
    for entries in ([], ANNA[3:]):
        verify_subject_chain(entries, CHECKPOINT, "anna", head=(3, hashes[2]), **later)
        refused(entries, head=(3, b64(bytes(32))), **later)
        verify_subject_chain(entries, CHECKPOINT, "anna", head=(2, "checked before"), **later)
