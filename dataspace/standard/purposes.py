"""Purposes that a request may name, each tied to a term of the W3C Data Privacy Vocabulary (DPV 2.3).

DPV has no term for checking a borrower; what happens there is its ``ServiceAccessDetermination``: finding out
whether the conditions for a service are met. Receipts must therefore write ``iri``, never ``dpv:`` and the code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from dataspace.standard.errors import PurposeUnknownError


@dataclass(frozen=True)
class Purpose:
    """Why data may be used."""

    code: str
    iri: str
    names: Mapping[str, str] = field(hash=False)


@cache
def purposes() -> tuple[Purpose, ...]:
    """All purposes, in the order of the file."""
    document = json.loads(files("dataspace.standard").joinpath("purposes.json").read_text("utf-8"))
    return tuple(Purpose(entry["code"], entry["iri"], entry["name"]) for entry in document["purposes"])


def purpose(code: str) -> Purpose:
    """The purpose of this code; raises :class:`PurposeUnknownError`."""
    for one in purposes():
        if one.code == code:
            return one
    raise PurposeUnknownError("no purpose of this code")
