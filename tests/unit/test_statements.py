"""The rules above ``vault.statements``, one by one. Bad successors stand in the vectors as well (``key-chain``)."""

from __future__ import annotations

from typing import Any

import pytest

from dataspace.kernel.encoding import b64
from dataspace.kernel.errors import DataspaceError
from tests.fakes import papers
from vault.errors import KeyStatementError
from vault.statements import TYP, Epoch, KeyChain, follow, write_statement
from vault.suite1 import epoch_key_digest

NOW = papers.NOW
SIGNER = papers.signing_key("statements")
LATER = papers.signing_key("statements, later")
WAGES = Epoch("wages", 1, papers.EPOCH.key)
VITALS = Epoch("vitals", 1, papers.chain_of(papers.keyring(("vitals",), "vitals")).epochs["vitals"].key)


def content(**changes: Any) -> dict[str, Any]:
    made = {
        "number": 1,
        "previous": None,
        "signing_key": b64(SIGNER.public),
        "epochs": [{"collection": "wages", "epoch": 1, "key": b64(WAGES.key)}],
        "issued_at": NOW,
        "not_after": NOW + 1000,
    }
    return made | changes


def pin(**changes: Any) -> KeyChain:
    return KeyChain.pin(SIGNER.sign(TYP, content(**changes)), SIGNER.kid)


def write(chain: KeyChain | None, *epochs: Epoch, key: bytes = SIGNER.public) -> str:
    return write_statement(
        SIGNER,
        signing_key=key,
        number=chain.number + 1 if chain else 1,
        previous=chain.head if chain else None,
        epochs=list(epochs),
        issued_at=NOW,
        not_after=NOW + 1000,
    )


def test_a_chain_starts_with_the_key_that_names_it() -> None:
    chain = pin()
    assert (chain.subject, chain.number, chain.first) == (SIGNER.kid, 1, chain.head)
    assert chain.epochs["wages"] == WAGES
    assert chain.epochs["wages"].key_digest == epoch_key_digest(WAGES.key)


def test_a_chain_goes_on_with_new_epochs_new_collections_and_a_new_key() -> None:
    chain = follow([write(None, WAGES)], SIGNER.kid)
    chain = chain.extend(write(chain, Epoch("wages", 3, VITALS.key), VITALS, key=LATER.public))
    assert (chain.number, chain.epochs["wages"].epoch, chain.signing_key) == (2, 3, LATER.public)
    assert chain.subject == SIGNER.kid
    with pytest.raises(DataspaceError) as refused:
        chain.extend(write(chain, Epoch("wages", 3, VITALS.key), VITALS))
    assert refused.value.code == "signature_invalid"


@pytest.mark.parametrize(
    "epochs",
    [
        None,
        1,
        "wages",
        {"collection": "wages"},
        ["wages"],
        [None],
        [{"collection": "wages", "epoch": 1}],
        [{"collection": "wages", "epoch": 1, "key": b64(WAGES.key), "x": 1}],
        [{"collection": "wages", "epoch": "1", "key": b64(WAGES.key)}],
        [{"collection": "wages", "epoch": -1, "key": b64(WAGES.key)}],
        [{"collection": ["wages"], "epoch": 1, "key": b64(WAGES.key)}],
        [{"collection": 1, "epoch": 1, "key": b64(WAGES.key)}],
        [{"collection": "wages", "epoch": 1, "key": 1}],
        [{"collection": "wages", "epoch": 1, "key": ""}],
    ],
)
def test_epochs_have_one_form(epochs: Any) -> None:
    with pytest.raises(KeyStatementError):
        pin(epochs=epochs)


@pytest.mark.parametrize("changes", [{"number": 2}, {"previous": SIGNER.kid}, {"number": "1"}, {"not_after": None}])
def test_number_1_has_no_predecessor_and_numbers_are_numbers(changes: dict[str, Any]) -> None:
    with pytest.raises(KeyStatementError):
        pin(**changes)


@pytest.mark.parametrize("key", [None, 1, "", "A", b64(bytes(31))])
def test_the_signing_key_is_a_key(key: Any) -> None:
    with pytest.raises(DataspaceError):
        pin(signing_key=key)


def test_a_fingerprint_of_another_key_is_a_substituted_key() -> None:
    """The service shows a statement of its own making; the resident has given the fingerprint to the source."""
    with pytest.raises(KeyStatementError) as refused:
        KeyChain.pin(LATER.sign(TYP, content(signing_key=b64(LATER.public))), SIGNER.kid)
    assert refused.value.code == "substituted_epoch_key"
    with pytest.raises(DataspaceError) as refused_signature:
        KeyChain.pin(LATER.sign(TYP, content()), SIGNER.kid)
    assert refused_signature.value.code == "signature_invalid"


def test_only_a_current_key_is_sealed_to() -> None:
    chain = pin()
    assert chain.epoch_for_sealing("wages", NOW + 999) == WAGES
    for name, now, code in (("wages", NOW + 1000, "key_statement_expired"), ("vitals", NOW, "no_epoch")):
        with pytest.raises(KeyStatementError) as refused:
            chain.epoch_for_sealing(name, now)
        assert refused.value.code == code


def test_the_verified_epochs_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        pin().epochs["wages"] = VITALS  # type: ignore[index]
