"""Files of the simulated authorities: each numbers persons in its own way and keeps its own list of them."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

PERSONS_FILE = "persons.csv"
PERSONS_HEADER = ("person_no", "label", "mark")


def person_numbers(authority: str, prefix: str, labels: Sequence[str], seed: int) -> dict[str, str]:
    """The authority's own number of every person: seeded, unrelated to the order and to any other authority's."""
    drawn = random.Random(f"{seed}/{authority}").sample(range(10**9, 10**10), len(labels))
    return {label: f"{prefix}{number}" for label, number in zip(labels, drawn, strict=True)}


def write_persons(folder: Path, numbers: dict[str, str], mark: str) -> None:
    """``persons.csv``: what the authority checks a person against (its own means), ordered by its own number."""
    rows = ((number, label, mark) for label, number in numbers.items())
    write_rows(folder / PERSONS_FILE, PERSONS_HEADER, rows)


def read_persons(folder: Path) -> dict[str, str]:
    """Label to the authority's own person number, from ``persons.csv`` of one authority's folder."""
    with (folder / PERSONS_FILE).open(encoding="utf-8", newline="") as file:
        return {row["label"]: row["person_no"] for row in csv.DictReader(file)}


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], *, encoding: str = "utf-8") -> None:
    """One CSV file, ordered by its first column and then as given, so that its order tells nothing of the origin."""
    ordered = sorted(rows, key=lambda row: str(row[0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(ordered)
