"""Inclusion proofs as RFC 6962 writes them down: slow, plain, and not the service's prover."""

from __future__ import annotations

from dataspace.kernel import merkle


def inclusion(leaves: list[bytes], index: int) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1, as it is written there."""
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return [*inclusion(leaves[:split], index), merkle.root(leaves[split:])]
    return [*inclusion(leaves[split:], index - split), merkle.root(leaves[:split])]
