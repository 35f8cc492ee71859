from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from dataspace.audit.errors import LogCorruptError
from dataspace.audit.tree import (
    Edge,
    Nodes,
    Range,
    consistency_ranges,
    edge_tiles,
    inclusion_ranges,
    range_nodes,
    tile_of,
)
from dataspace.kernel.merkle import (
    EMPTY_ROOT,
    ProofInvalidError,
    leaf_hash,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)
from tests.shared_vectors import shared_vectors


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


def rfc_root(hashes: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word by word."""
    if len(hashes) <= 1:
        return hashes[0] if hashes else hashlib.sha256(b"").digest()
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node_hash(rfc_root(hashes[:split]), rfc_root(hashes[split:]))


def unpack(probe: dict[str, Any], *names: str) -> list[bytes]:
    return [base64.b64decode(probe[name] or "") for name in names]


def probes(kind: str) -> list[tuple[Path, dict[str, Any]]]:
    found = [(path, json.loads(path.read_text())) for path in sorted((shared_vectors("merkle") / kind).rglob("*.json"))]
    assert {bool(probe["wantErr"]) for _path, probe in found} == {True, False}
    return found


def judge(path: Path, *, refuse: bool, check: Any) -> None:
    try:
        check()
    except ProofInvalidError:
        assert refuse, f"{path}: refused, but valid"
    else:
        assert not refuse, f"{path}: accepted, but invalid"


def test_public_inclusion_probes() -> None:
    for path, probe in probes("inclusion"):
        leaf, top = unpack(probe, "leafHash", "root")
        proof = [base64.b64decode(item) for item in probe["proof"] or []]
        index, size = probe["leafIdx"], probe["treeSize"]
        judge(path, refuse=probe["wantErr"], check=lambda: verify_inclusion(leaf, index, size, proof, top))  # noqa: B023


def test_public_consistency_probes() -> None:
    for path, probe in probes("consistency"):
        first, second = unpack(probe, "root1", "root2")
        proof = [base64.b64decode(item) for item in probe["proof"] or []]
        sizes = probe["size1"], probe["size2"]
        judge(path, refuse=probe["wantErr"], check=lambda: verify_consistency(*sizes, proof, first, second))  # noqa: B023


def test_certificate_transparency_reference_root() -> None:
    entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    hashes = [leaf_hash(bytes.fromhex(entry)) for entry in entries]
    assert root(hashes).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 9, 255, 256, 257, 600])
def test_root_is_that_of_the_rfc(size: int) -> None:
    assert root(leaves(size)) == rfc_root(leaves(size))


def grow(hashes: list[bytes], steps: list[int]) -> tuple[Edge, dict[tuple[int, int], bytes]]:
    """A tree grown in batches, each from what the batch before stored."""
    tiles: dict[tuple[int, int], bytes] = {}
    edge, done = Edge(), 0
    for step in steps:
        edge = Edge.load(done, {tile: tiles[tile] for tile in edge_tiles(done)})
        tiles |= edge.extend(hashes[done : done + step])
        done += step
    return edge, tiles


@pytest.mark.parametrize("steps", [[1], [255, 1], [256, 1], [1, 254, 3, 300], [700, 1, 65000]])
def test_tree_in_tiles_has_the_root_of_the_rfc(steps: list[int]) -> None:
    hashes = leaves(sum(steps))
    edge, tiles = grow(hashes, steps)
    assert edge.size == len(hashes)
    assert edge.root() == root(hashes)
    assert edge.tiles().items() <= tiles.items()


def test_empty_edge() -> None:
    assert Edge().root() == EMPTY_ROOT
    assert edge_tiles(0) == set()


def prove(tiles: dict[tuple[int, int], bytes], ranges: list[Range]) -> list[bytes]:
    needed = {tile_of(node) for leaves_ in ranges for node in range_nodes(leaves_)}
    nodes = Nodes({tile: tiles[tile] for tile in needed})
    return [nodes.range_hash(leaves_) for leaves_ in ranges]


def test_all_proofs_of_small_trees_verify_and_no_other_leaf_does() -> None:
    hashes = leaves(40)
    _edge, tiles = grow(hashes, [40])
    for size in range(1, 41):
        top = root(hashes[:size])
        for index in range(size):
            proof = prove(tiles, inclusion_ranges(index, size))
            verify_inclusion(hashes[index], index, size, proof, top)
            with pytest.raises(ProofInvalidError):
                verify_inclusion(hashes[index - 1] if size > 1 else EMPTY_ROOT, index, size, proof, top)
        for before in range(1, size + 1):
            proof = prove(tiles, consistency_ranges(before, size))
            verify_consistency(before, size, proof, root(hashes[:before]), top)
            for first, second in ((EMPTY_ROOT, top), (root(hashes[:before]), EMPTY_ROOT)):
                with pytest.raises(ProofInvalidError):
                    verify_consistency(before, size, proof, first, second)


@pytest.mark.parametrize(("index", "size"), [(0, 66000), (255, 257), (256, 66000), (65999, 66000), (65535, 65536)])
def test_proofs_across_tiles(index: int, size: int) -> None:
    hashes = leaves(66000)
    _edge, tiles = grow(hashes, [66000])
    top = root(hashes[:size])
    verify_inclusion(hashes[index], index, size, prove(tiles, inclusion_ranges(index, size)), top)
    proof = prove(tiles, consistency_ranges(index + 1, size))
    verify_consistency(index + 1, size, proof, root(hashes[: index + 1]), top)


def test_missing_or_short_tiles_are_noticed() -> None:
    _edge, tiles = grow(leaves(300), [300])
    with pytest.raises(LogCorruptError):
        Edge.load(300, {**tiles, (0, 1): tiles[0, 1][:-32]})
    with pytest.raises(LogCorruptError):
        Edge.load(300, {(0, 1): tiles[0, 1]})
    with pytest.raises(LogCorruptError):
        Nodes({(0, 0): tiles[0, 0][:-1]}).range_hash((255, 256))
    with pytest.raises(LogCorruptError):
        Nodes({}).range_hash((0, 4))


def test_wrong_shapes_are_refused() -> None:
    one = leaves(1)[0]
    for proof in ([b"short"], [one] * 64):
        with pytest.raises(ProofInvalidError):
            verify_inclusion(one, 0, 2, proof, one)
    with pytest.raises(ProofInvalidError, match="too long"):
        verify_inclusion(one, 0, 1, [one], one)
    with pytest.raises(ProofInvalidError, match="too short"):
        verify_inclusion(one, 0, 4, [one], one)
    with pytest.raises(ProofInvalidError, match="outside"):
        verify_inclusion(one, 1, 1, [], one)
    with pytest.raises(ProofInvalidError):
        verify_consistency(0, 1, [], EMPTY_ROOT, one)
    with pytest.raises(ProofInvalidError, match="two different roots"):
        verify_consistency(1, 1, [], EMPTY_ROOT, one)
    with pytest.raises(ProofInvalidError, match="empty"):
        verify_consistency(1, 2, [], one, one)
    with pytest.raises(ProofInvalidError, match="must be empty"):
        verify_consistency(1, 1, [one], one, one)
    pair = leaves(2)
    with pytest.raises(ProofInvalidError, match="outside"):
        verify_inclusion(pair[1], -1, 2, [pair[0]], root(pair))
