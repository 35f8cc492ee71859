"""The district's registrar (simulated): an office whose offline key signs sources, licences, reviews, anchors."""

from __future__ import annotations

from pathlib import Path

from dataspace.kernel.encoding import b64
from dataspace.kernel.files import secret
from dataspace.kernel.ids import random_id
from dataspace.kernel.jws import SigningKey
from dataspace.kernel.signed import Text
from dataspace.standard.register import Anchor, Licence, Listing, Source

YEAR = 365 * 86_400


class Registrar:
    """Signs what it has checked. Its key is in no other program; everyone else pins its public half."""

    def __init__(self, home: Path, now: int) -> None:
        self._key = SigningKey(secret(home / "registrar.key"))
        self._from = now - 86_400
        self.now = now

    @property
    def public(self) -> bytes:
        return self._key.public

    def source(self, source_id: str, name: tuple[str, str], key: bytes, collections: list[str]) -> str:
        """Register an authority for the collections it may deliver."""
        return Source(
            source_id=source_id,
            name=Text(zh=name[0], en=name[1]),
            key=b64(key),
            collections=tuple(collections),
            not_before=self._from,
            not_after=self.now + YEAR,
        ).sign(self._key)

    def licence(
        self,
        operator_id: str,
        name: tuple[str, str],
        key: bytes,
        purposes: list[str],
        collections: list[str],
        until: int | None = None,
    ) -> str:
        """License an operator for a year, or until the given second."""
        return Licence(
            licence_id=random_id(),
            number=f"示范授字〔2026〕{operator_id}",
            operator_id=operator_id,
            name=Text(zh=name[0], en=name[1]),
            key=b64(key),
            purposes=tuple(purposes),
            collections=tuple(collections),
            not_before=self.now - YEAR,
            not_after=until or self.now + YEAR,
        ).sign(self._key)

    def listing(self, product_digest: str, product_id: str, version: int, operator_id: str) -> str:
        """List a product that two reviewers have passed."""
        return Listing(
            product_digest=product_digest,
            product_id=product_id,
            version=version,
            operator_id=operator_id,
            reviewers=("reviewer-1", "reviewer-2"),
            not_before=self._from,
            not_after=self.now + YEAR,
        ).sign(self._key)

    def anchor(self, name: str, key: bytes) -> str:
        """Vouch for nodes that attest with this software key."""
        return Anchor(kind="sw-dev", name=name, key=b64(key), not_before=self._from, not_after=self.now + YEAR).sign(
            self._key
        )
