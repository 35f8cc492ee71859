from __future__ import annotations

import json
from typing import Any

import pytest

from dataspace.kernel.encoding import b64, frame
from dataspace.kernel.errors import DataspaceError
from tests.fakes import papers
from vault.errors import CannotOpenError, RecoveryWordsError
from vault.keyring import STATEMENT_SECONDS, Keyring
from vault.recovery import LANGUAGES, entropy_of, new_words, unwrap_vault_key, wrap_vault_key
from vault.statements import follow
from vault.suite1 import OpeningKey, aead_seal, derive

NOW = papers.NOW


def ring() -> Keyring:
    """Two collections, of which one has had a second epoch."""
    made = papers.keyring(("wages", "vitals"), "keyring")
    made.new_epochs(["wages"], NOW + 1, papers.seeds("keyring, second"))
    return made


RING = ring()


def stored() -> dict[str, Any]:
    """The wraps after a way through the service: JSON, with the wrap by recovery words beside them."""
    return json.loads(json.dumps({**RING.wrapped(), "recovery": "AA"}))


def unwrap(wraps: dict[str, Any], key: bytes = RING.vault_key) -> Keyring:
    return Keyring.unwrap(key, wraps, RING.statements, RING.subject)


def test_a_new_vault_has_an_epoch_of_each_collection_in_its_first_statement() -> None:
    made = Keyring.create(["wages", "vitals"], NOW)
    chain = papers.chain_of(made)
    assert made.subject == made.signing.kid == chain.subject
    assert {(e.collection, e.epoch, e.key) for e in chain.epochs.values()} == {
        (name, 1, OpeningKey(made.seeds[name, 1]).public) for name in ("wages", "vitals")
    }
    assert chain.not_after == NOW + STATEMENT_SECONDS
    assert len({made.vault_key, made.signing.seed, *made.seeds.values()}) == 4


def test_a_new_epoch_leaves_the_other_collections_and_the_old_seeds() -> None:
    chain = follow(RING.statements, RING.subject)
    assert {name: epoch.epoch for name, epoch in chain.epochs.items()} == {"wages": 2, "vitals": 1}
    assert RING.seeds.keys() == {("wages", 1), ("wages", 2), ("vitals", 1)}


def test_wraps_open_to_the_same_keys() -> None:
    opened = unwrap(stored())
    assert (opened.seeds, opened.signing.seed, opened.chain) == (RING.seeds, RING.signing.seed, RING.chain)
    assert opened.statements == RING.statements


def test_wraps_hold_no_key_in_the_open() -> None:
    text = json.dumps(RING.wrapped())
    for secret in (RING.vault_key, RING.signing.seed, *RING.seeds.values()):
        assert b64(secret) not in text
        assert secret.hex() not in text


def test_another_vault_key_opens_nothing() -> None:
    with pytest.raises(CannotOpenError):
        unwrap(stored(), bytes(32))


def test_wraps_of_two_epochs_cannot_change_places() -> None:
    wraps = stored()
    one, two = wraps["epochs"][0], wraps["epochs"][1]
    one["wrap"], two["wrap"] = two["wrap"], one["wrap"]
    with pytest.raises(CannotOpenError):
        unwrap(wraps)


def test_a_current_epoch_that_is_left_out_is_noticed() -> None:
    wraps = stored()
    wraps["epochs"] = [item for item in wraps["epochs"] if (item["collection"], item["epoch"]) != ("wages", 2)]
    with pytest.raises(CannotOpenError):
        unwrap(wraps)


def test_a_seed_that_is_not_of_the_named_epoch_is_noticed() -> None:
    wraps = stored()
    key = derive(RING.vault_key, frame("vault-wrap", b"\1\1"))
    sealed = aead_seal(key, frame("wrap", b"\1\1", "epoch", "wages", 2), bytes(32))
    next(item for item in wraps["epochs"] if item["epoch"] == 2)["wrap"] = b64(sealed)
    with pytest.raises(CannotOpenError):
        unwrap(wraps)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": None},
        {"epochs": {}},
        {"epochs": [1]},
        {"epochs": [{"collection": "wages", "epoch": True, "wrap": ""}]},
        {"epochs": [{"collection": "wages", "epoch": -1, "wrap": ""}]},
        {"signing_key": None},
        {"signing_key": "="},
        {"another": 1},
    ],
)
def test_other_shapes_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DataspaceError):
        unwrap({**stored(), **changes})


# recovery words


@pytest.mark.parametrize("language", LANGUAGES)
def test_new_words_open_the_vault_key_again(language: str) -> None:
    words, entropy = new_words(language)
    assert len(words.split(" ")) == 24
    assert entropy_of(words, language) == entropy
    wrap = wrap_vault_key(entropy, RING.subject, RING.vault_key)
    assert unwrap_vault_key(entropy_of(words, language), RING.subject, wrap) == RING.vault_key
    for other_entropy, other_subject in ((bytes(32), RING.subject), (entropy, papers.RING.subject)):
        with pytest.raises(CannotOpenError):
            unwrap_vault_key(other_entropy, other_subject, wrap)


def test_wrong_words_are_refused_with_one_sentence() -> None:
    words, _ = new_words("en")
    short = " ".join(words.split(" ")[:12])
    said = set()
    for bad, language in ((words[:-1] + "x", "en"), (short, "en"), (words, "zh"), (words, "fr"), ("", "en")):
        with pytest.raises(RecoveryWordsError) as refused:
            entropy_of(bad, language)
        said.add((refused.value.code, refused.value.detail))
    assert said == {("recovery_words_invalid", "these are not the 24 recovery words")}


def test_no_two_vaults_have_the_same_words() -> None:
    assert len({new_words("zh")[0] for _ in range(20)}) == 20
