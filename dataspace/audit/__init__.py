"""The transparency log: salted leaves, one append-only tree, signed checkpoints, a gapless chain per resident."""
