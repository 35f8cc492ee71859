"""Merkle tree hashes and proof checks of RFC 6962 section 2 and RFC 9162 section 2.1, over SHA-256. Pure functions.

Every check raises :class:`ProofInvalidError`; none returns a bool that a caller could forget to look at. Hashes are
32 raw bytes, sizes are numbers of leaves, indices start at 0.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from dataspace.kernel.errors import DataspaceError

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of the tree without leaves (RFC 6962 section 2.1)."""

_HASH_BYTES = 32
_MAX_PROOF = 63
"""A proof in a tree of fewer than 2**63 leaves is never longer."""


class ProofInvalidError(DataspaceError):
    """A Merkle proof, or what it is about, does not lead to the expected root."""

    code = "proof_invalid"


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 ‖ data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Iterable[bytes]) -> bytes:
    """Root over leaf hashes in order (MTH of RFC 6962 section 2.1)."""
    stack: list[bytes] = []  # roots of the perfect subtrees, largest first
    for count, hashed in enumerate(leaf_hashes):
        node = hashed
        while count & 1:
            node = node_hash(stack.pop(), node)
            count >>= 1
        stack.append(node)
    return fold_right(stack) if stack else EMPTY_ROOT


def fold_right(nodes: Sequence[bytes]) -> bytes:
    """Root of neighbouring subtrees, each no larger than the one left of it; ``nodes`` must not be empty."""
    result = nodes[-1]
    for node in reversed(nodes[:-1]):
        result = node_hash(node, result)
    return result


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> None:
    """RFC 9162 section 2.1.3.2: the leaf hash ``leaf`` stands at ``index`` in the tree of ``size`` leaves."""
    _require_hashes(leaf, expected_root, *proof)
    if not 0 <= index < size:
        raise ProofInvalidError("the index is outside the tree")
    node, position, last = leaf, index, size - 1
    for sibling in proof:
        if last == 0:
            raise ProofInvalidError("the inclusion proof is too long")
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            position, last = _skip_missing_siblings(position, last)
        else:
            node = node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofInvalidError("the inclusion proof is too short")
    _require_equal(node, expected_root, "the inclusion proof does not lead to the root")


def verify_consistency(size1: int, size2: int, proof: Sequence[bytes], root1: bytes, root2: bytes) -> None:
    """RFC 9162 section 2.1.4.2: the tree of ``size1`` leaves is the beginning of the tree of ``size2`` leaves.

    ``size1`` 0 is refused: every tree extends the empty one, and a "proof" of it says nothing.
    """
    _require_hashes(root1, root2, *proof)
    if not 0 < size1 <= size2:
        raise ProofInvalidError("the sizes are not in order, or the first is 0")
    if size1 == size2:
        if proof:
            raise ProofInvalidError("a proof between equal sizes must be empty")
        _require_equal(root1, root2, "two different roots for one size")
        return
    if not proof:
        raise ProofInvalidError("the consistency proof is empty")
    old, new = _consistent_roots(size1, size2, proof, root1)
    _require_equal(old, root1, "the consistency proof does not lead to the first root")
    _require_equal(new, root2, "the consistency proof does not lead to the second root")


def _consistent_roots(size1: int, size2: int, proof: Sequence[bytes], root1: bytes) -> tuple[bytes, bytes]:
    path = [root1, *proof] if size1 & (size1 - 1) == 0 else list(proof)
    position, last = size1 - 1, size2 - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofInvalidError("the consistency proof is too long")
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            position, last = _skip_missing_siblings(position, last)
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofInvalidError("the consistency proof is too short")
    return old, new


def _skip_missing_siblings(position: int, last: int) -> tuple[int, int]:
    """Climb the levels on which a node at the right edge has no sibling."""
    while position and not position & 1:
        position, last = position >> 1, last >> 1
    return position, last


def _require_hashes(*hashes: bytes) -> None:
    if len(hashes) > _MAX_PROOF + 2 or any(len(item) != _HASH_BYTES for item in hashes):
        raise ProofInvalidError("a proof holds at most 63 hashes of 32 bytes")


def _require_equal(found: bytes, expected: bytes, sentence: str) -> None:
    if not hmac.compare_digest(found, expected):
        raise ProofInvalidError(sentence)
