"""A log in memory: entries in, proof bundles, checkpoints and consistency proofs out, by the real tree."""

from __future__ import annotations

from typing import Any

from dataspace.audit.tree import Edge, Nodes, consistency_ranges, inclusion_ranges
from dataspace.kernel.encoding import b64, canonical
from dataspace.kernel.jws import SigningKey
from dataspace.kernel.logproof import leaf_data
from dataspace.kernel.merkle import leaf_hash
from dataspace.kernel.note import Checkpoint, cosign, sign_checkpoint

ORIGIN, WITNESS_NAME = "log.example/1", "witness.example/1"
LOG_KEY, WITNESS_KEY = SigningKey(bytes([31]) * 32), SigningKey(bytes([32]) * 32)
SALT = bytes(16)
NOW = 1_760_000_000


class FakeLog:
    """Numbers a resident's entries by itself; ``heads`` is (number, leaf hash) of each resident's newest entry."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.heads: dict[str, tuple[int, str]] = {}

    def add(self, kind: str, subject: str | None = None, **fields: Any) -> int:
        """The index of the new entry."""
        if subject is not None:
            number, previous = self.heads.get(subject, (0, None))
            fields |= {"subject": subject, "number": number + 1, "previous": previous}
        body = canonical({"v": 1, "kind": kind, "at": NOW, **fields})
        self.bodies.append(body)
        if subject is not None:
            self.heads[subject] = (fields["number"], b64(leaf_hash(leaf_data(SALT, body))))
        return len(self.bodies) - 1

    def copy(self) -> FakeLog:
        made = FakeLog()
        made.bodies, made.heads = list(self.bodies), dict(self.heads)
        return made

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        size = len(self.bodies) if size is None else size
        edge = Edge()
        edge.extend(self._hashes()[:size])
        return Checkpoint(ORIGIN, size, edge.root())

    def note(self, size: int | None = None, *, witnessed: bool = True) -> str:
        checkpoint = self.checkpoint(size)
        text = sign_checkpoint(checkpoint, LOG_KEY)
        return text + cosign(checkpoint.body(), WITNESS_NAME, WITNESS_KEY, NOW) if witnessed else text

    def bundle(self, index: int, size: int | None = None) -> dict[str, Any]:
        size = len(self.bodies) if size is None else size
        return {
            "index": index,
            "salt": b64(SALT),
            "body": b64(self.bodies[index]),
            "size": size,
            "inclusion": [b64(self._nodes().range_hash(item)) for item in inclusion_ranges(index, size)],
            "checkpoint": self.note(size),
        }

    def consistency(self, old: int, new: int) -> list[str]:
        return [b64(self._nodes().range_hash(item)) for item in consistency_ranges(old, new)]

    def _hashes(self) -> list[bytes]:
        return [leaf_hash(leaf_data(SALT, body)) for body in self.bodies]

    def _nodes(self) -> Nodes:
        return Nodes(Edge().extend(self._hashes()))
