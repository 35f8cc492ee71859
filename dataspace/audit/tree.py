"""The tree in tiles of 256 hashes: growing it, and finding the nodes of a proof. Pure.

A node is ``(height, position)``: the perfect subtree over leaves ``position << height`` to
``(position + 1 << height) - 1``. Level L of the tiles holds the nodes of height 8·L (C2SP tlog-tiles).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dataspace.audit.errors import LogCorruptError
from dataspace.kernel.merkle import EMPTY_ROOT, fold_right, node_hash, root

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
HASH_BYTES = 32

Node = tuple[int, int]
"""(height, position)"""
Tile = tuple[int, int]
"""(level, position)"""
Range = tuple[int, int]
"""Leaves [begin, end)"""


class Edge:
    """The right edge of a tree of ``size`` leaves: per level, the hashes of its unfinished tile."""

    def __init__(self, size: int = 0, levels: Sequence[Sequence[bytes]] = ()) -> None:
        self.size = size
        self._levels = [list(level) for level in levels]

    @classmethod
    def load(cls, size: int, tiles: Mapping[Tile, bytes]) -> Edge:
        """From the stored tiles named by :func:`edge_tiles`; raises LogCorruptError when one is missing or short."""
        levels: list[list[bytes]] = []
        while size >> (TILE_HEIGHT * len(levels)):
            level = len(levels)
            width = (size >> (TILE_HEIGHT * level)) % TILE_WIDTH
            stored = tiles.get((level, size >> (TILE_HEIGHT * (level + 1))), b"")
            if len(stored) != width * HASH_BYTES:
                raise LogCorruptError("a stored tile does not fit the size of the log")
            levels.append(split_hashes(stored))
        return cls(size, levels)

    def extend(self, leaf_hashes: Iterable[bytes]) -> dict[Tile, bytes]:
        """Append leaves; answers every tile that changed, whole."""
        changed: dict[Tile, bytes] = {}
        for leaf in leaf_hashes:
            changed |= self.add(leaf)
        touched = {0, *(level + 1 for level, _position in changed)}
        return changed | {tile: data for tile, data in self.tiles().items() if tile[0] in touched}

    def add(self, leaf: bytes) -> dict[Tile, bytes]:
        """Append one leaf; answers the tiles that it completed."""
        self.size += 1
        completed: dict[Tile, bytes] = {}
        node, level = leaf, 0
        while True:
            if level == len(self._levels):
                self._levels.append([])
            hashes = self._levels[level]
            hashes.append(node)
            if len(hashes) < TILE_WIDTH:
                return completed
            completed[level, (self.size >> (TILE_HEIGHT * (level + 1))) - 1] = b"".join(hashes)
            node = root(hashes)
            self._levels[level] = []
            level += 1

    def root(self) -> bytes:
        """Root of the whole tree."""
        result: bytes | None = None
        for hashes in self._levels:
            if hashes:
                result = fold_right([*_peaks(hashes), *([result] if result else [])])
        return result or EMPTY_ROOT

    def tiles(self) -> dict[Tile, bytes]:
        """The unfinished tiles."""
        found = {}
        for level, hashes in enumerate(self._levels):
            if hashes:
                found[level, self.size >> (TILE_HEIGHT * (level + 1))] = b"".join(hashes)
        return found


def edge_tiles(size: int) -> set[Tile]:
    """The unfinished tiles of a log of ``size`` leaves."""
    found: set[Tile] = set()
    level = 0
    while size >> (TILE_HEIGHT * level):
        if (size >> (TILE_HEIGHT * level)) % TILE_WIDTH:
            found.add((level, size >> (TILE_HEIGHT * (level + 1))))
        level += 1
    return found


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Subtrees whose roots are the inclusion proof of ``index``, lowest first (RFC 9162 section 2.1.3.1)."""
    begin, end, found = 0, size, []
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((begin, middle))
            begin = middle
    return found[::-1]


def consistency_ranges(size1: int, size2: int) -> list[Range]:
    """Subtrees whose roots prove that ``size1`` begins ``size2`` (RFC 9162 section 2.1.4.1); 0 < size1 <= size2."""
    begin, end, found = 0, size2, []
    while size1 != end:
        middle = begin + _split(end - begin)
        if size1 <= middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((begin, middle))
            begin = middle
    if begin:  # otherwise the subtree is the old tree itself, whose root the verifier has
        found.append((begin, end))
    return found[::-1]


def range_nodes(leaves: Range) -> list[Node]:
    """The perfect subtrees that make up a range of an RFC 6962 proof, left to right."""
    begin, end = leaves
    found = []
    while begin < end:
        height = (end - begin).bit_length() - 1
        found.append((height, begin >> height))
        begin += 1 << height
    return found


def tile_of(node: Node) -> Tile:
    """The tile in which a node, or the nodes below it, are stored."""
    height, position = node
    level, above = divmod(height, TILE_HEIGHT)
    return level, (position << above) // TILE_WIDTH


class Nodes:
    """Node hashes out of loaded tiles; what was computed once is kept for the next proof of the batch."""

    def __init__(self, tiles: Mapping[Tile, bytes]) -> None:
        self._tiles = tiles
        self._known: dict[Node, bytes] = {}

    def range_hash(self, leaves: Range) -> bytes:
        """Root of the subtree over a range."""
        return fold_right([self._hash(*node) for node in range_nodes(leaves)])

    def _hash(self, height: int, position: int) -> bytes:
        known = self._known.get((height, position))
        if known is None:
            known = self._stored(height, position) if height % TILE_HEIGHT == 0 else self._joined(height, position)
            self._known[height, position] = known
        return known

    def _joined(self, height: int, position: int) -> bytes:
        return node_hash(self._hash(height - 1, 2 * position), self._hash(height - 1, 2 * position + 1))

    def _stored(self, height: int, position: int) -> bytes:
        tile, slot = divmod(position, TILE_WIDTH)
        stored = self._tiles.get((height // TILE_HEIGHT, tile), b"")[slot * HASH_BYTES : (slot + 1) * HASH_BYTES]
        if len(stored) != HASH_BYTES:
            raise LogCorruptError("a stored tile is missing or short")
        return stored


def split_hashes(stored: bytes) -> list[bytes]:
    """The hashes of a tile."""
    return [stored[at : at + HASH_BYTES] for at in range(0, len(stored), HASH_BYTES)]


def _split(count: int) -> int:
    """The largest power of two below ``count`` (RFC 6962: k < n <= 2k)."""
    return 1 << ((count - 1).bit_length() - 1)


def _peaks(hashes: Sequence[bytes]) -> list[bytes]:
    """Roots of the perfect subtrees over a part of a level."""
    return [
        root(hashes[position << height : (position + 1) << height])
        for height, position in range_nodes((0, len(hashes)))
    ]
