"""Writes the vectors of suite 1 beside it (docs/formats.md), from fixed seeds: ``python -m tests.vectors.generate``.

``--check`` writes nothing and fails when a committed file differs from what would be written. HPKE is randomised: its
samples stand in ``samples.json``, are made once (delete the file to make new ones), and are opened each time.

A file is ``{"operation", "cases"}``. Every case is whole in itself; ``expect`` is ``success`` or the code of the
refusal. Bytes are base64url as everywhere.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from mnemonic import Mnemonic

from connectors.broker.opening import record_keys_info
from consent.model import Grant, GrantState, SealedKeyName, SubjectHead, sealed_key_digest
from dataspace.kernel.encoding import HEADER, b64, canonical, digest, frame, unb64
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.jws import SigningKey
from dataspace.kernel.signed import SignedContent
from tests.fakes import papers
from vault import suite1
from vault.envelope import pack, record_aad, record_key
from vault.granting import GrantKeyContext
from vault.statements import Epoch, write_statement
from vault.suite1 import OpeningKey, SealingKey, derive, epoch_key_digest

HERE = Path(__file__).parent / "suite1"
SAMPLES = HERE / "samples.json"
Case = dict[str, Any]
Cases = Iterator[Case]

NONCE = papers.seed("nonce")[:24]
OTHER = papers.signing_key("somebody else")
ASKED = papers.ask()
TERMS = papers.terms(ASKED)
ONGOING_TERMS = papers.terms(papers.ask(**papers.ONGOING))
EPOCH_SEED = papers.RING.seeds[papers.WAGES, 1]


def case(name: str, expect: str = "success", **members: Any) -> Case:
    return {"name": name, "expect": expect, **members}


# what is randomised: made once, opened each time

SLOT_GRANT = GrantKeyContext(TERMS.digest(), papers.WAGES, papers.PLACE.epoch_key, "slot", papers.PLACE.slot_id)
EPOCH_GRANT = GrantKeyContext(ONGOING_TERMS.digest(), papers.WAGES, papers.PLACE.epoch_key, "epoch", "")
RECORD_KEYS_INFO = record_keys_info(
    papers.short_id("run"), ASKED.request.digest, papers.short_id("nonce"), [papers.RECORD_ID]
)
RESULT_INFO = frame("result", HEADER, papers.short_id("run"), ASKED.request.digest)
SEALED = {  # name: (seed of the key it is sealed to, info, message)
    "slot": (EPOCH_SEED, papers.PLACE.info(), papers.SLOT_KEY),
    "grant key, slot": (papers.GRANT_SEED, SLOT_GRANT.info(), papers.SLOT_KEY),
    "grant key, epoch": (papers.GRANT_SEED, EPOCH_GRANT.info(), EPOCH_SEED),
    "record keys": (papers.seed("node hpke"), RECORD_KEYS_INFO, record_key(papers.SLOT_KEY, papers.RECORD_ID)),
    "result": (papers.RESULT_SEED, RESULT_INFO, b"a result"),
}


def samples(*, make: bool) -> dict[str, bytes]:
    """Sealed samples by name; every one of them opens."""
    if make and not SAMPLES.exists():
        made = {name: b64(SealingKey(OpeningKey(key).public).seal(info, m)) for name, (key, info, m) in SEALED.items()}
        HERE.mkdir(exist_ok=True)
        SAMPLES.write_text(json.dumps(made, indent=1) + "\n")
    found = {name: unb64(sealed) for name, sealed in json.loads(SAMPLES.read_text()).items()}
    for name, (key, info, message) in SEALED.items():
        if OpeningKey(key).open(info, found[name]) != message:
            raise ValueError(f"the sample {name!r} opens to something else")
    return found


# what goes wrong with bytes and with signed objects


def spoiled(sealed: bytes, refused: str = "cannot_open") -> Iterator[tuple[str, str, bytes]]:
    """(name, expected code, bytes) of everything that must not open."""
    yield "truncated by a byte", refused, sealed[:-1]
    yield "a byte behind", refused, sealed + b"\0"
    yield "header alone", refused, sealed[:2]
    yield "last bit changed", refused, sealed[:-1] + bytes([sealed[-1] ^ 1])
    yield "first bit behind the header changed", refused, sealed[:2] + bytes([sealed[2] ^ 0x80]) + sealed[3:]
    yield "empty", "unknown_format", b""
    yield "another version", "unknown_format", b"\2" + sealed[1:]
    yield "another suite", "unknown_format", sealed[:1] + b"\2" + sealed[2:]


def other_value(value: str | int) -> str | int:
    """A neighbour of ``value`` of the same form."""
    if isinstance(value, int):
        return value + 1
    return ("B" if value[:1] == "A" else "A") + value[1:]


def compact(key: SigningKey, header: bytes, payload: bytes) -> str:
    """A JWS of any bytes, properly signed."""
    signing_input = f"{b64(header)}.{b64(payload)}"
    return f"{signing_input}.{b64(key.sign_raw(signing_input.encode()))}"


def misspelled(canonical_bytes: bytes) -> Iterator[tuple[str, bytes]]:
    """Other spellings of the same JSON object, and what signed objects must not hold. All are ``not_canonical``."""
    value = json.loads(canonical_bytes)
    backwards = dict(reversed(value.items()))
    yield "a space", canonical_bytes.replace(b"{", b"{ ", 1)
    yield "another order of members", json.dumps(backwards, separators=(",", ":"), ensure_ascii=False).encode()
    yield "a member twice", b'{"suite":1,' + canonical_bytes[1:]
    yield "1.0", re.sub(rb'"suite":1\b', b'"suite":1.0', canonical_bytes)
    yield "1e3", re.sub(rb'"suite":1\b', b'"suite":1e3', canonical_bytes)
    yield "an escape", canonical_bytes.replace(b'"suite"', b'"\\u0073uite"')
    yield "a newline behind", canonical_bytes + b"\n"


def bad_tokens(
    key: SigningKey, typ: str, content: dict[str, Any], unknown_member: str
) -> Iterator[tuple[str, str, str]]:
    """(name, expected code, token). ``unknown_member`` is the code for one member too many or too few."""
    token = key.sign(typ, content)
    head, body, signature = token.split(".")
    header, payload = unb64(head), unb64(body)
    of_other = header.replace(key.kid.encode(), OTHER.kid.encode())
    yield "another type", "signature_invalid", key.sign("other", content)
    yield "kid of another key", "signature_invalid", compact(key, of_other, payload)
    yield "signed by another key", "signature_invalid", OTHER.sign(typ, content)
    yield "another key's signature", "signature_invalid", compact(OTHER, header, payload)
    changed = canonical({**json.loads(payload), "nonce": "changed"})
    yield "changed payload", "signature_invalid", f"{head}.{b64(changed)}.{signature}"
    yield "another version", "unknown_format", compact(key, header, canonical({**json.loads(payload), "v": 2}))
    yield "another suite", "unknown_format", compact(key, header, canonical({**json.loads(payload), "suite": 2}))
    yield "version true", "unknown_format", compact(key, header, canonical({**json.loads(payload), "v": True}))
    for name, spelling in misspelled(payload):
        yield name, "not_canonical", compact(key, header, spelling)
    yield "truncated", "malformed", token[:-2]
    yield "a byte behind the signature", "malformed", f"{head}.{body}.{b64(unb64(signature) + bytes(1))}"
    yield "trailing bits", "not_canonical", token[:-1] + chr(ord(token[-1]) + 1)
    yield "a member too many", unknown_member, key.sign(typ, {**content, "unknown": 1})
    yield "a member too few", unknown_member, key.sign(typ, dict(list(content.items())[1:]))


def bad_jws() -> Iterator[tuple[str, str, str]]:
    """What is wrong with a JWS whatever it holds; tried with one type only."""
    key, content = papers.signing_key("resident"), {"nonce": "x"}
    token = key.sign("refusal", content)
    head, body, signature = token.split(".")
    header, payload = unb64(head), unb64(body)
    fields = {"alg": "Ed25519", "kid": key.kid, "typ": "pds-refusal+jws"}
    for alg in ("EdDSA", "none", "HS256"):
        yield f"alg {alg}", "malformed", compact(key, canonical({**fields, "alg": alg}), payload)
    yield "a header member too many", "malformed", compact(key, canonical({**fields, "crit": []}), payload)
    yield "no kid", "malformed", compact(key, canonical({k: fields[k] for k in ("alg", "typ")}), payload)
    yield "kid is a number", "malformed", compact(key, canonical({**fields, "kid": 1}), payload)
    yield "type without its prefix", "signature_invalid", compact(key, canonical({**fields, "typ": "refusal"}), payload)
    yield "header with a space", "not_canonical", compact(key, header.replace(b"{", b"{ "), payload)
    yield "payload is a list", "malformed", compact(key, header, b"[1]")
    yield "payload is not JSON", "malformed", compact(key, header, b"{")
    yield "payload is not UTF-8", "malformed", compact(key, header, b'{"a":"\xff"}')
    yield "half a surrogate", "malformed", compact(key, header, b'{"a":"\\ud800"}')
    yield "half a surrogate names a member", "malformed", compact(key, header, b'{"\\ud800":1,"suite":1,"v":1}')
    yield "a large integer", "malformed", compact(key, header, b'{"a":9007199254740992,"suite":1,"v":1}')
    yield "NaN", "not_canonical", compact(key, header, b'{"a":NaN,"suite":1,"v":1}')
    yield "two parts", "malformed", f"{head}.{body}"
    yield "four parts", "malformed", f"{token}.{signature}"
    yield "padding", "not_canonical", f"{token}=="
    yield "standard base64", "not_canonical", f"{head}.{body}.{'+' * 85}A"
    yield "a newline behind the token", "malformed", f"{token}\n"
    yield "empty", "malformed", ""


# the files


def encodings() -> Cases:
    """frame, digest and the names made by them."""
    fields: list[tuple[str, list[bytes | str | int]]] = [
        ("none", []),
        ("an empty field", [""]),
        ("text", ["税务"]),
        ("an integer", [2**53 - 1]),
        ("bytes", [HEADER, b"\0\xff"]),
        ("ab then c", ["ab", "c"]),
        ("a then bc", ["a", "bc"]),
    ]
    for name, parts in fields:
        written = [b64(part) if isinstance(part, bytes) else part for part in parts]
        kinds = [type(part).__name__ for part in parts]
        made = {"frame": b64(frame("test", *parts)), "digest": digest("test", *parts)}
        yield case(name, use="test", fields=written, kinds=kinds, **made)


def base64url() -> Cases:
    for data in (b"", b"\0", b"\xfb\xff", b"abc", bytes(range(32))):
        yield case(f"{len(data)} bytes", text=b64(data), hex=data.hex())
    for name, text in (("trailing bits", "AB"), ("padding", "AA=="), ("standard alphabet", "+_8")):
        yield case(name, "not_canonical", text=text)
    for name, text in (
        ("one character", "A"),
        ("padding of nothing", "===="),
        ("a space", "A A"),
        ("a newline", "AA\n"),
        ("not ASCII", "ÄÄ"),
    ):
        yield case(name, "malformed", text=text)
    yield case("another size", "malformed", text="AAAA", size=4)


def canonical_json() -> Cases:
    good = '{"":[],"a":{"b":null,"c":true},"suite":1,"zh":"税务\\n","ö":-1}'.encode()
    yield case("canonical", json=b64(good))
    for name, spelling in misspelled(good):
        yield case(name, "not_canonical", json=b64(spelling))
    for name, text in (
        ("escaped slash", rb'{"a":"\/"}'),
        ("upper-case escape", rb'{"a":"\u001F"}'),
        ("minus zero", b'{"a":-0}'),
        ("exponent", b'{"a":1E2}'),
        ("infinity", b'{"a":Infinity}'),
        ("byte order mark", b'\xef\xbb\xbf{"a":1}'),
        ("UTF-16", '{"a":1}'.encode("utf-16-le")),
    ):
        yield case(name, "not_canonical", json=b64(text))
    for name, text in (
        ("empty", b""),
        ("a list", b"[]"),
        ("a number", b"1"),
        ("not UTF-8", b'{"a":"\xff"}'),
        ("two objects", b"{}{}"),
        ("2**53", b'{"a":9007199254740992}'),
        ("deep", b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    ):
        yield case(name, "malformed", json=b64(text))


def keys() -> Cases:
    """Signing key → fingerprint; seed → X-Wing public key → epoch key digest."""
    for label in ("resident", "broker"):
        key = papers.signing_key(label)
        yield case(f"signing key {label}", signing_seed=b64(key.seed), public=b64(key.public), kid=key.kid)
    for one in (bytes(32), EPOCH_SEED, papers.GRANT_SEED):
        public = OpeningKey(one).public
        yield case(f"seed {one.hex()[:8]}", seed=b64(one), public=b64(public), digest=epoch_key_digest(public))
    public = OpeningKey(EPOCH_SEED).public
    yield case("a seed of 31 bytes", "malformed", seed=b64(bytes(31)))
    for name, raw in (
        ("public key, a byte short", public[:-1]),
        ("public key, a byte long", public + b"\0"),
        ("coefficients above the modulus", b"\xff" * 1216),
        ("X25519 point of low order", public[:1184] + bytes(32)),
    ):
        yield case(name, "malformed", public=b64(raw))


def records(_samples: dict[str, bytes]) -> Cases:
    place = {"record_id": papers.RECORD_ID, **asdict(papers.PLACE)}
    slot_key = papers.SLOT_KEY
    aad = record_aad(papers.RECORD_ID, papers.PLACE.slot_id, papers.PLACE.collection, papers.PLACE.epoch_key)
    key = record_key(slot_key, papers.RECORD_ID)
    sealed = suite1._aead_seal(key, aad, papers.PAYLOAD, NONCE)
    made = {"nonce": b64(NONCE), "record_key": b64(key), "payload": b64(papers.PAYLOAD)}
    yield case("sealed", slot_key=b64(slot_key), sealed=b64(sealed), **place, **made)
    for name, expect, bad in spoiled(sealed):
        yield case(name, expect, slot_key=b64(slot_key), sealed=b64(bad), **place)
    yield case("another slot key", "cannot_open", slot_key=b64(bytes(32)), sealed=b64(sealed), **place)
    for member in ("record_id", "slot_id", "collection", "epoch_key"):
        changed = {**place, member: other_value(place[member])}
        yield case(f"another {member}", "cannot_open", slot_key=b64(slot_key), sealed=b64(sealed), **changed)


def hpke_cases(name: str, sample: bytes, key: bytes, context: dict[str, str], opened: bytes) -> Cases:
    fixed = {"seed": b64(key), **context}
    yield case(name, sealed=b64(sample), opened=b64(opened), **fixed)
    for what, expect, bad in spoiled(sample):
        yield case(f"{name}: {what}", expect, sealed=b64(bad), **fixed)
    yield case(f"{name}: another key", "cannot_open", sealed=b64(sample), **{**fixed, "seed": b64(bytes(32))})
    for member, value in context.items():
        changed = {**fixed, member: other_value(value)}
        yield case(f"{name}: another {member}", "cannot_open", sealed=b64(sample), **changed)


def slots(sealed: dict[str, bytes]) -> Cases:
    yield from hpke_cases("slot", sealed["slot"], EPOCH_SEED, asdict(papers.PLACE), papers.SLOT_KEY)


def grant_keys(sealed: dict[str, bytes]) -> Cases:
    for context in (SLOT_GRANT, EPOCH_GRANT):
        name = f"grant key, {context.kind}"
        yield from hpke_cases(name, sealed[name], papers.GRANT_SEED, asdict(context), SEALED[name][2])


def wraps() -> Cases:
    """What the server keeps: under the vault key, and the vault key under recovery words (here: their entropy)."""
    entropy, vault_key = papers.seed("entropy"), papers.RING.vault_key
    wrapping = derive(vault_key, frame("vault-wrap", HEADER))
    recovering = derive(entropy, frame("recovery-words", HEADER))
    kinds: list[tuple[str, bytes, bytes, tuple[str, int], bytes]] = [
        ("epoch", vault_key, wrapping, (papers.WAGES, 1), EPOCH_SEED),
        ("signing-key", vault_key, wrapping, (papers.RING.signing.kid, 0), papers.RING.signing.seed),
        ("vault-key", entropy, recovering, (papers.RING.subject, 0), vault_key),
    ]
    for kind, secret, key, (name, number), opened in kinds:
        fixed = {"kind": kind, "key": b64(secret), "name_in_wrap": name, "number": number}
        wrap = suite1._aead_seal(key, frame("wrap", HEADER, kind, name, number), opened, NONCE)
        yield case(kind, wrap=b64(wrap), nonce=b64(NONCE), opened=b64(opened), **fixed)
        for what, expect, bad in spoiled(wrap):
            yield case(f"{kind}: {what}", expect, wrap=b64(bad), **fixed)
        yield case(f"{kind}: another key", "cannot_open", wrap=b64(wrap), **{**fixed, "key": b64(bytes(32))})
        for member in ("name_in_wrap", "number"):
            changed = {**fixed, member: other_value(fixed[member])}
            yield case(f"{kind}: another {member}", "cannot_open", wrap=b64(wrap), **changed)
        elsewhere = "epoch" if kind != "epoch" else "signing-key"
        yield case(f"{kind}: as {elsewhere}", "cannot_open", wrap=b64(wrap), **{**fixed, "kind": elsewhere})


def words() -> Cases:
    for language, name in (("en", "english"), ("zh", "chinese_simplified")):
        for entropy in (bytes(32), b"\xff" * 32, papers.seed("entropy")):
            text = Mnemonic(name).to_mnemonic(entropy)
            yield case(f"{language} {entropy.hex()[:8]}", language=language, words=text, entropy=b64(entropy))
        good = Mnemonic(name).to_mnemonic(bytes(32)).split(" ")
        for what, bad in (
            ("last word changed", [*good[:-1], good[0]]),
            ("a word short", good[:-1]),
            ("a word long", [*good, good[0]]),
            ("twelve words", Mnemonic(name).to_mnemonic(bytes(16)).split(" ")),
            ("an unknown word", [*good[:-1], "xyzzy"]),
            ("two spaces", [good[0], "", *good[1:]]),
            ("nothing", []),
        ):
            text = " ".join(bad)
            yield case(f"{language}: {what}", "recovery_words_invalid", language=language, words=text)
    yield case("in the other language", "recovery_words_invalid", language="zh", words="abandon " * 23 + "art")
    yield case("an unknown language", "recovery_words_invalid", language="de", words="abandon")


def key_chains() -> Cases:
    """A chain of three, in which the second starts an epoch and the third changes the signing key."""
    first, new = papers.RING.signing, papers.signing_key("resident, later")
    epoch = [Epoch(papers.WAGES, n, OpeningKey(papers.seed(f"epoch {n}")).public) for n in (1, 2)]

    def statement(signer: SigningKey, **changes: Any) -> str:
        made = {
            "signing_key": signer.public,
            "number": 1,
            "previous": None,
            "epochs": [epoch[0]],
            "issued_at": papers.NOW,
            "not_after": papers.NOW + 1000,
        }
        return write_statement(signer, **(made | changes))

    def name(token: str) -> str:
        return digest("key-statement", unb64(token.split(".")[1]))

    one = statement(first)
    two = statement(first, number=2, previous=name(one), epochs=[epoch[1]])
    three = statement(first, number=3, previous=name(two), epochs=[epoch[1]], signing_key=new.public)
    four = statement(new, number=4, previous=name(three), epochs=[epoch[1]])
    fixed = {"subject": first.kid}
    chain = [one, two, three, four]
    for length in range(1, 5):
        yield case(
            f"{length} statements", statements=chain[:length], number=length, head=name(chain[length - 1]), **fixed
        )
    refused = partial(case, expect="key_statement_invalid", **fixed)
    yield refused("none", statements=[])
    yield refused("starts with number 2", statements=[two])
    yield refused("the same again", statements=[one, one])
    yield refused("one left out", statements=[one, three])
    unsigned = statement(first, number=4, previous=name(three), epochs=[epoch[1]])
    yield case("signed by the key before last", "signature_invalid", statements=[*chain[:3], unsigned], **fixed)
    yield case("another subject", "substituted_epoch_key", statements=[one], subject=OTHER.kid)
    following = partial(statement, first, number=2, previous=name(one))
    yield refused("another predecessor", statements=[one, following(previous=name(two))])
    yield refused("no predecessor", statements=[one, following(previous=None)])
    yield refused("a number left out", statements=[one, following(number=3)])
    yield refused("a collection left out", statements=[one, following(epochs=[])])
    changed = [replace(epoch[0], key=epoch[1].key)]
    yield refused("another key in the same epoch", statements=[one, following(epochs=changed)])
    back = statement(first, number=3, previous=name(two))
    yield refused("an epoch goes back", statements=[one, two, back])
    yield refused("a collection twice", statements=[statement(first, epochs=[epoch[0]] * 2)])
    yield refused("epoch 0", statements=[statement(first, epochs=[replace(epoch[0], epoch=0)])])
    yield refused("epoch true", statements=[statement(first, epochs=[replace(epoch[0], epoch=True)])])
    yield refused("number true", statements=[statement(first, number=True)])
    yield refused("a key too short", statements=[statement(first, epochs=[replace(epoch[0], key=bytes(1215))])])
    content = json.loads(unb64(two.split(".")[1]))
    members = {key: value for key, value in content.items() if key not in ("v", "suite")}
    for what, expect, token in bad_tokens(first, "key-statement", members, "key_statement_invalid"):
        yield case(f"second: {what}", expect, statements=[one, token], **fixed)


def record_proofs() -> Cases:
    """The source's signature inside a record, read at the place where the record was found."""
    size = int.from_bytes(papers.PAYLOAD[:4], "big")
    proof = papers.PAYLOAD[8 + size :].rstrip(b"\0").decode()
    place = {"record_id": papers.RECORD_ID, **asdict(papers.PLACE)}
    fixed = {"key": b64(papers.SOURCE.public), "data": b64(papers.DATA), **place}
    yield case("signed", proof=proof, **fixed)
    for member in ("record_id", "collection", "epoch_key", "source_id"):
        yield case(
            f"another {member}", "transplanted_record", proof=proof, **{**fixed, member: other_value(place[member])}
        )
    other = canonical({"month": "2025-09", "net_amount": 1})
    yield case("other data", "transplanted_record", proof=proof, **{**fixed, "data": b64(other)})
    content = json.loads(unb64(proof.split(".")[1]))
    members = {key: value for key, value in content.items() if key not in ("v", "suite")}
    for member, bad in (("sequence", 0), ("sequence", "1"), ("sequence", True), ("link_id", 1), ("supersedes", 1)):
        token = papers.SOURCE.sign("record", {**members, member: bad})
        yield case(f"{member} is {bad!r}", "record_invalid", proof=token, **fixed)
    for what, expect, token in bad_tokens(papers.SOURCE, "record", members, "record_invalid"):
        yield case(what, expect, proof=token, **fixed)


def packs() -> Cases:
    """Data and proof in one padded block; sizes stand at the edges of the buckets."""
    for size in (0, 503, 504, 505, 1016, 1017):
        data = bytes(size)
        yield case(f"{size} bytes", data=b64(data), proof="", size=len(pack(data, "")), payload=b64(pack(data, "")))
    good = pack(b"data", "proof")
    for name, bad in (
        ("empty", b""),
        ("truncated by a byte", good[:-1]),
        ("a byte behind", good + b"\0"),
        ("a bucket too large", good + bytes(512)),
        ("padding is not zero", good[:-1] + b"\1"),
        ("data longer than the block", b"\xff\xff\xff\xff" + good[4:]),
        ("proof longer than the block", good[:8] + b"\xff\xff\xff\xff" + good[12:]),
        ("proof is not text", pack(b"data", "proof").replace(b"proof", b"proo\xff")),
    ):
        yield case(name, "malformed", payload=b64(bad))


def jws() -> Cases:
    key = papers.signing_key("resident")
    fixed = {"typ": "refusal", "key": b64(key.public)}
    for name, expect, token in bad_jws():
        yield case(name, expect, token=token, **fixed)


def signed_objects(sealed: dict[str, bytes]) -> Cases:
    """One of each type, and everything that must not be taken for it."""
    name = SealedKeyName(
        collection=papers.WAGES,
        epoch_key=papers.PLACE.epoch_key,
        kind="slot",
        slot=papers.PLACE.slot_id,
        digest=sealed_key_digest(sealed["grant key, slot"]),
    )
    shown = papers.evidence(ASKED.request.digest, [TERMS.digest()])
    request = ASKED.request.digest
    resident = papers.RING.signing
    objects: list[tuple[SignedContent, SigningKey]] = [
        (ASKED.listed.licence.content, papers.REGISTRAR),
        (ASKED.listed.listing.content, papers.REGISTRAR),
        (papers.REGISTERED_SOURCE, papers.REGISTRAR),
        (papers.ANCHOR, papers.REGISTRAR),
        (ASKED.listed.product.content, papers.OPERATOR),
        (ASKED.request.content, papers.OPERATOR),
        (Grant(grant=TERMS, sealed=(name,)), resident),
        (papers.refusal(request), resident),
        (papers.withdrawal(TERMS.digest()), resident),
        (ASKED.grant_key.content, papers.BROKER),
        (GrantState(grant_digest=TERMS.digest(), state="destroyed", at=papers.NOW), papers.BROKER),
        (SubjectHead(subject=papers.RING.subject, number=0, entry=None, at=papers.NOW), papers.BROKER),
        (shown, papers.NODE),
        (papers.ear(shown), papers.BROKER),
        (papers.delivery([{"link_id": "x"}]), papers.SOURCE),
    ]
    for content, key in objects:
        fixed = {"typ": content.typ, "key": b64(key.public)}
        yield case(content.typ, token=content.sign(key), digest=content.digest(), **fixed)
        members = {key: value for key, value in content.payload().items() if key not in ("v", "suite")}
        for what, expect, token in bad_tokens(key, content.typ, members, "malformed"):
            yield case(f"{content.typ}: {what}", expect, token=token, **fixed)
    token = papers.receipt(TERMS.digest())
    fixed = {"typ": "receipt", "key": b64(papers.SERVICE.public)}
    yield case("receipt", token=token, digest=digest("receipt", unb64(token.split(".")[1])), **fixed)
    members = json.loads(unb64(token.split(".")[1]))
    for what, expect, bad in bad_tokens(papers.SERVICE, "receipt", members, "success"):
        if expect != "success":  # receipts are read by people and standard tools: any members
            yield case(f"receipt: {what}", expect, token=bad, **fixed)


FILES: dict[str, Callable[[dict[str, bytes]], Cases]] = {
    "frame": lambda _: encodings(),
    "b64": lambda _: base64url(),
    "canonical": lambda _: canonical_json(),
    "keys": lambda _: keys(),
    "record": records,
    "slot": slots,
    "grant-key": grant_keys,
    "wrap": lambda _: wraps(),
    "recovery-words": lambda _: words(),
    "key-chain": lambda _: key_chains(),
    "record-proof": lambda _: record_proofs(),
    "pack": lambda _: packs(),
    "jws": lambda _: jws(),
    "signed": signed_objects,
}


def contents(*, make: bool = False) -> dict[Path, str]:
    """Every file as it has to be."""
    sealed = samples(make=make)
    return {
        HERE / f"{name}.json": json.dumps(
            {"operation": name, "cases": list(make(sealed))}, indent=1, ensure_ascii=False
        )
        + "\n"
        for name, make in FILES.items()
    }


def main(arguments: list[str]) -> int:
    """Exit code: 0, or 1 when a committed file is not what the code makes."""
    try:
        written = contents(make="--check" not in arguments)
    except (DataspaceError, OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"{SAMPLES}: {error}\n")
        return 1
    if "--check" not in arguments:
        for path, text in written.items():
            path.write_text(text, encoding="utf-8")
        return 0
    differing = [path for path, text in written.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in differing:
        sys.stderr.write(f"{path} differs; run python -m tests.vectors.generate and look at the difference\n")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
