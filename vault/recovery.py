"""Recovery words: 24 BIP-39 words that open the vault key again, in Chinese or English."""

from __future__ import annotations

from mnemonic import Mnemonic

from dataspace.kernel.encoding import HEADER, frame
from vault.errors import RecoveryWordsError
from vault.suite1 import aead_open, aead_seal, derive, new_key

LANGUAGES = {"zh": "chinese_simplified", "en": "english"}


def new_words(language: str) -> tuple[str, bytes]:
    """(24 words, their 32 bytes of entropy). The words carry 256 bits, so no slow hash is needed."""
    entropy = new_key()
    return Mnemonic(LANGUAGES[language]).to_mnemonic(entropy), entropy


def entropy_of(words: str, language: str) -> bytes:
    """The 32 bytes behind ``words``; refused with one error, whatever is wrong with them."""
    try:
        entropy = bytes(Mnemonic(LANGUAGES[language]).to_entropy(words))
    except (LookupError, ValueError) as error:
        raise RecoveryWordsError("these are not the 24 recovery words") from error
    if len(entropy) != 32:
        raise RecoveryWordsError("these are not the 24 recovery words")
    return entropy


def wrap_vault_key(entropy: bytes, subject: str, vault_key: bytes) -> bytes:
    """The vault key, sealed to the recovery words."""
    return aead_seal(derive(entropy, frame("recovery-words", HEADER)), _aad(subject), vault_key)


def unwrap_vault_key(entropy: bytes, subject: str, wrap: bytes) -> bytes:
    return aead_open(derive(entropy, frame("recovery-words", HEADER)), _aad(subject), wrap)


def _aad(subject: str) -> bytes:
    return frame("wrap", HEADER, "vault-key", subject, 0)
