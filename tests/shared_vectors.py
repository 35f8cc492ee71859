"""Public vectors stand outside the repository; a test that needs absent ones says so and is skipped, or fails in CI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def skip_or_fail(reason: str) -> None:
    """Skip, unless ``REQUIRE_ALL=1`` turns every skip into a failure."""
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def shared_vectors(name: str) -> Path:
    """The folder ``name`` of the shared vectors (``SHARED_VECTORS``, else ``../shared/vectors``)."""
    default = Path(__file__).parents[2] / "shared" / "vectors"
    folder = Path(os.environ.get("SHARED_VECTORS", default)) / name
    if not folder.is_dir():
        skip_or_fail(f"the shared vectors are not here: {folder}")
    return folder
