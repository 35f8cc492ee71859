"""The rules: Rego modules as the engines load them, and the digest that names exactly this set of rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from dataspace.kernel.encoding import canonical
from dataspace.kernel.encoding import digest as _digest


def modules() -> dict[str, str]:
    """Text of every module that decides (tests left out) by its path below this folder, ``pds/use/use.rego``."""
    return dict(_modules())


def digest() -> str:
    """Name of these rules: digest("policy", canonical(path -> text)). Any changed character changes it."""
    return _digest("policy", canonical(modules()))


@cache
def reasons() -> dict[str, dict[str, str]]:
    """One sentence for people, ``zh`` and ``en``, for every reason code."""
    sentences: dict[str, dict[str, str]] = json.loads((files(__name__) / "reasons.json").read_text("utf-8"))
    return sentences


@cache
def _modules() -> tuple[tuple[str, str], ...]:
    return tuple(sorted(_walk(files(__name__) / "pds", "pds")))


def _walk(folder: Traversable, path: str) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        name = f"{path}/{entry.name}"
        if entry.is_dir():
            yield from _walk(entry, name)
        elif name.endswith(".rego") and not name.endswith("_test.rego"):
            yield name, entry.read_text("utf-8")
