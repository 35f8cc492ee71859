"""A true answer verifies; each single thing that is not as it must be is refused with its own error."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from dataspace_sdk import Ask, DataspaceSdkError, Product, errors, verify_answer
from dataspace_sdk.core import Core
from dataspace_sdk.products import verify_listed

from dataspace.kernel.encoding import b64, unb64
from dataspace.kernel.jws import SigningKey
from tests.sdk import fabricated as made
from tests.sdk.fabricated import NOW

Raw = dict[str, Any]


def core() -> Core:
    return Core(made.identity(), made.trust(), lambda: NOW)


def own_product(kind: str = "individual") -> Product:
    payload = made.manifest(kind)
    return verify_listed(made.OPERATOR.sign("product", payload), made.listing(payload), made.trust(), made.identity())


def new_ask(kind: str = "individual") -> Ask:
    return core().new_ask(own_product(kind), "a-handle" if kind == "individual" else None, 7)


ASK = new_ask()
OTHER_ASK = new_ask()
COHORT_ASK = new_ask("cohort")
SEALED = made.seal(ASK, made.result(ASK))


def flipped(token: str) -> str:
    """The same signed object with one bit of its signature changed."""
    head, _, signature = token.rpartition(".")
    raw = unb64(signature)
    return f"{head}.{b64(raw[:9] + bytes((raw[9] ^ 1,)) + raw[10:])}"


def test_a_true_individual_answer() -> None:
    raw = made.answer_to(ASK)
    found = verify_answer(raw, ASK, made.trust(), NOW)
    assert found.table is None
    assert found.answer is not None
    assert (found.answer.answer, found.answer.sources) == ("yes", ("wages-bureau",))
    assert found.answer.covers == {"from": "2026-01", "to": "2026-12"}
    evidence = found.evidence
    assert (evidence.node_class, evidence.isolation) == ("sw-dev", "bwrap+seccomp")
    assert (evidence.request_digest, evidence.product_digest) == (ASK.request_digest, ASK.product_digest)
    assert (evidence.node, evidence.run_id) == (made.NODE.kid, made.CODES["run"])
    assert (evidence.log_size, evidence.witnesses) == (8, ("w/1", "w/2"))
    assert evidence.decision == b64(made.leaf(made.decided(ASK)))
    assert evidence.decision_entry["outcome"] == "allow"
    assert evidence.release["released_at"] == evidence.released_at == made.HOUR
    assert verify_answer(found.raw, ASK, made.trust(), NOW + 90 * 86_400) == found, (
        "fetched or checked again much later"
    )


def test_a_true_cohort_table() -> None:
    found = verify_answer(made.answer_to(COHORT_ASK), COHORT_ASK, made.trust(), NOW)
    assert found.answer is None
    assert found.table is not None
    assert found.table.columns == ("sex", "persons", "mean_sbp")
    assert [cell["persons"] for cell in found.table.cells] == [40, None]


def with_(**changes: Any) -> Callable[[], Raw]:
    return lambda: made.answer_to(ASK, **changes)


def ear(**changes: Any) -> Callable[[], Raw]:
    return with_(ear_token=made.ear(ASK, **changes))


def release(**changes: Any) -> Callable[[], Raw]:
    def build() -> Raw:
        return made.answer_to(ASK, sealed=SEALED, release_token=made.release(ASK, SEALED, **changes))

    return build


def result(**changes: Any) -> Callable[[], Raw]:
    return lambda: made.answer_to(ASK, sealed=made.seal(ASK, made.result(ASK, **changes)))


def decision(**changes: Any) -> Callable[[], Raw]:
    return with_(decision=made.decided(ASK, **changes))


def entry(**changes: Any) -> Callable[[], Raw]:
    return with_(release_entry=changes)


def replaced(name: str, value: Any) -> Callable[[], Raw]:
    return lambda: {**made.answer_to(ASK), name: value}


def in_bundles(**changes: Any) -> Callable[[], Raw]:
    """Both bundles changed in the same way."""

    def build() -> Raw:
        raw = made.answer_to(ASK)
        return {**raw, "decision": {**raw["decision"], **changes}, "released": {**raw["released"], **changes}}

    return build


def in_bundle(name: str, **changes: Any) -> Callable[[], Raw]:
    def build() -> Raw:
        raw = made.answer_to(ASK)
        return {**raw, name: {**raw[name], **changes}}

    return build


def tree() -> made.Tree:
    first = made.decided(ASK)
    return made.Tree(first, made.released(ASK, SEALED, b64(made.leaf(first))))


def noted(**changes: Any) -> Callable[[], Raw]:
    """The same tree under a note that is signed otherwise."""

    def build() -> Raw:
        found = tree()
        text = found.note(**changes)
        return {
            **made.answer_to(ASK, sealed=SEALED),
            "decision": found.bundle(0, text),
            "released": found.bundle(1, text),
        }

    return build


def swapped_sealed() -> Raw:
    return {**made.answer_to(ASK), "sealed": b64(made.seal(ASK, made.result(ASK)))}


def sealed_byte_flipped() -> Raw:
    broken = SEALED[:-1] + bytes((SEALED[-1] ^ 1,))
    return made.answer_to(ASK, sealed=broken)


def wrong_index() -> Raw:
    raw = made.answer_to(ASK)
    return {**raw, "decision": {**raw["decision"], "index": raw["decision"]["index"] + 1}}


def missing_entry() -> Raw:
    """A decision that stands in no tree, beside a true release."""
    raw = made.answer_to(ASK)
    forged = made.Tree(made.decided(ASK, allowed=9), {"v": 1, "kind": "x", "at": 1})
    return {**raw, "decision": forged.bundle(0, raw["released"]["checkpoint"])}


def forked() -> Raw:
    """The decision under one signed and witnessed checkpoint, the release under another one of the same size."""
    raw = made.answer_to(ASK)
    first = made.decided(ASK)
    fork = made.Tree(first, {"v": 1, "kind": "other", "at": 1})
    return {**raw, "decision": fork.bundle(0)}


def other_log() -> Raw:
    first = made.decided(ASK)
    bodies = (first, made.released(ASK, SEALED, b64(made.leaf(first))))
    found = made.Tree(*bodies, origin="other.example/log")
    return {**made.answer_to(ASK, sealed=SEALED), "decision": found.bundle(0), "released": found.bundle(1)}


def release_before_decision() -> Raw:
    first = made.decided(ASK)
    found = made.Tree(made.released(ASK, SEALED, b64(made.leaf(first))), first)
    return {**made.answer_to(ASK, sealed=SEALED), "decision": found.bundle(1), "released": found.bundle(0)}


def both_the_release() -> Raw:
    raw = made.answer_to(ASK)
    return {**raw, "decision": raw["released"]}


def both_the_decision() -> Raw:
    raw = made.answer_to(ASK)
    return {**raw, "released": raw["decision"]}


def answer_of_another_kind() -> Raw:
    return made.answer_to(ASK, sealed=made.seal(ASK, made.result(ASK, answer=None, table=made.TABLE)))


def cosignature_flipped() -> Raw:
    found = tree()
    lines = found.note().splitlines(keepends=True)
    name, data = lines[-1].rsplit(" ", 1)
    raw = bytearray(base64.b64decode(data))
    raw[-1] ^= 1
    text = "".join(lines[:-1]) + f"{name} {base64.b64encode(bytes(raw)).decode()}\n"
    return {**made.answer_to(ASK, sealed=SEALED), "decision": found.bundle(0, text), "released": found.bundle(1, text)}


TAMPERED: list[tuple[str, Callable[[], Raw], type[DataspaceSdkError]]] = [
    ("unknown part", replaced("more", 1), errors.AnswerMalformedError),
    ("sealed is no text", replaced("sealed", None), errors.AnswerMalformedError),
    ("sealed is no base64url", replaced("sealed", "A"), errors.AnswerMalformedError),
    ("no entries", replaced("decision", None), errors.AnswerMalformedError),
    # 1 EAR
    ("ear flipped", with_(ear_token=flipped(made.ear(ASK))), errors.EarInvalidError),
    ("ear by another key", ear(key=made.OTHER), errors.EarInvalidError),
    ("ear is a release", with_(ear_token=made.release(ASK, SEALED)), errors.EarInvalidError),
    ("ear with an unknown member", ear(more=1), errors.EarInvalidError),
    ("ear with a text for a number", ear(issued_at="1"), errors.EarInvalidError),
    ("ear with a boolean for a number", ear(issued_at=True), errors.EarInvalidError),
    ("ear of another profile", ear(profile="x"), errors.EarInvalidError),
    ("ear with a broken key", ear(node_sign_key="AAAA"), errors.EarInvalidError),
    ("ear warns", ear(status="warning"), errors.EarNotAffirmingError),
    ("ear of no status", ear(status="none"), errors.EarNotAffirmingError),
    ("ear of another class", ear(node_class="tpm"), errors.NodeClassRefusedError),
    ("ear of another request", ear(request_digest=OTHER_ASK.request_digest), errors.EarRequestMismatchError),
    ("ear ends before it begins", ear(not_after=NOW - 21), errors.EarTimeError),
    ("ear lives too long", ear(not_after=NOW + 281), errors.EarTimeError),
    # 2 release
    (
        "release flipped",
        with_(sealed=SEALED, release_token=flipped(made.release(ASK, SEALED))),
        errors.ReleaseInvalidError,
    ),
    ("release by another key", release(key=made.OTHER), errors.ReleaseInvalidError),
    ("release with an unknown member", release(more=1), errors.ReleaseInvalidError),
    (
        "release of another request",
        release(request_digest=OTHER_ASK.request_digest),
        errors.ReleaseRequestMismatchError,
    ),
    ("release of another result", release(result_digest=made.CODES["policy"]), errors.ReleaseResultMismatchError),
    ("sealed swapped", swapped_sealed, errors.ReleaseResultMismatchError),
    ("release of other grants", release(grant_set=made.CODES["policy"]), errors.ReleaseGrantsMismatchError),
    ("ear of other grants", ear(grant_set=made.CODES["policy"]), errors.ReleaseGrantsMismatchError),
    ("release of another node", release(node=made.OTHER.kid), errors.ReleaseNodeMismatchError),
    ("ear of another node", ear(node_sign_key=b64(made.OTHER.public)), errors.ReleaseNodeMismatchError),
    ("release of another run", release(run_id=b64(bytes(16))), errors.ReleaseRunMismatchError),
    ("released an hour before", release(released_at=made.HOUR - 3600), errors.EarTimeError),
    ("released an hour after", release(released_at=made.HOUR + 3600), errors.EarTimeError),
    ("released at a minute", release(released_at=made.HOUR + 60), errors.EarTimeError),
    # 3 result
    ("sealed flipped", sealed_byte_flipped, errors.CannotOpenError),
    (
        "sealed for another run",
        with_(sealed=made.seal(ASK, made.result(ASK), run_id=b64(bytes(16)))),
        errors.CannotOpenError,
    ),
    (
        "sealed for another request",
        with_(sealed=made.seal(ASK, made.result(ASK), request_digest=OTHER_ASK.request_digest)),
        errors.CannotOpenError,
    ),
    ("sealed to another key", with_(sealed=made.seal(OTHER_ASK, made.result(ASK))), errors.CannotOpenError),
    ("nothing sealed", with_(sealed=b""), errors.CannotOpenError),
    ("result by another key", result(key=made.OTHER), errors.ResultInvalidError),
    ("result flipped", with_(sealed=made.seal(ASK, flipped(made.result(ASK)))), errors.ResultInvalidError),
    ("result is no signed object", with_(sealed=made.seal(ASK, "é")), errors.ResultInvalidError),
    ("result with an unknown member", result(more=1), errors.ResultInvalidError),
    ("answer with an unknown member", result(answer={**made.SAID, "more": 1}), errors.ResultInvalidError),
    ("no answer", result(answer=None), errors.ResultInvalidError),
    ("a table for an individual", answer_of_another_kind, errors.ResultInvalidError),
    ("both", result(table=made.TABLE), errors.ResultInvalidError),
    ("result of another request", result(request_digest=OTHER_ASK.request_digest), errors.ResultRequestMismatchError),
    ("result of another product", result(product_digest=COHORT_ASK.product_digest), errors.ResultProductMismatchError),
    ("result of the other kind", result(kind="cohort"), errors.ResultProductMismatchError),
    ("result of another run", result(run_id=b64(bytes(16))), errors.ResultRunMismatchError),
    # 4 checkpoint
    ("empty bundle", replaced("decision", {}), errors.LogEntryInvalidError),
    ("forked", forked, errors.CheckpointForkedError),
    ("checkpoint by another log key", noted(log=made.OTHER), errors.CheckpointInvalidError),
    ("checkpoint of another log", other_log, errors.CheckpointInvalidError),
    ("checkpoint is no text", in_bundles(checkpoint=7), errors.CheckpointInvalidError),
    ("cosignature flipped", cosignature_flipped, errors.CheckpointInvalidError),
    ("no cosignature", noted(witnesses={}), errors.WitnessMissingError),
    ("one cosignature", noted(witnesses={"w/1": made.WITNESS}), errors.WitnessMissingError),
    ("one witness as two", noted(witnesses={"w/1": made.WITNESS, "w/2": made.WITNESS}), errors.WitnessMissingError),
    # 5 decision
    ("decision in no log", missing_entry, errors.EntryNotInLogError),
    ("decision elsewhere", wrong_index, errors.EntryNotInLogError),
    ("decision with another salt", in_bundle("decision", salt=b64(bytes(16))), errors.EntryNotInLogError),
    ("decision under another size", in_bundle("decision", size=9), errors.EntryNotInLogError),
    ("bundle with an unknown member", in_bundle("decision", more=1), errors.LogEntryInvalidError),
    ("bundle with a text for a number", in_bundle("decision", index="5"), errors.LogEntryInvalidError),
    ("bundle with a broken hash", in_bundle("decision", inclusion=["A"]), errors.LogEntryInvalidError),
    ("entry of another version", decision(v=2), errors.LogEntryInvalidError),
    ("entry without a time", decision(at=None), errors.LogEntryInvalidError),
    ("no decision", both_the_release, errors.DecisionMissingError),
    ("denied", decision(outcome="deny"), errors.DecisionNotAllowError),
    ("conditional", decision(outcome="conditional"), errors.DecisionNotAllowError),
    (
        "decision of another request",
        decision(request_digest=OTHER_ASK.request_digest),
        errors.DecisionRequestMismatchError,
    ),
    ("decision of another product", decision(product_digest=made.CODES["run"]), errors.DecisionRequestMismatchError),
    ("decision of another operator", decision(operator_id="other"), errors.DecisionRequestMismatchError),
    ("decision of another run", decision(run_id=b64(bytes(16))), errors.DecisionRunMismatchError),
    ("decision of other grants", decision(grant_set=made.CODES["policy"]), errors.DecisionGrantsMismatchError),
    ("decision under another policy", decision(policy_digest=made.CODES["grants"]), errors.DecisionPolicyMismatchError),
    ("ear under another policy", ear(policy_digest=made.CODES["grants"]), errors.DecisionPolicyMismatchError),
    # 6 logged release
    ("release in no log", in_bundle("released", salt=b64(bytes(16))), errors.EntryNotInLogError),
    ("no logged release", both_the_decision, errors.ReleasedMissingError),
    ("release before decision", release_before_decision, errors.ReleasedMissingError),
    ("logged for another request", entry(request_digest=OTHER_ASK.request_digest), errors.ReleasedRequestMismatchError),
    ("logged for another run", entry(run_id=b64(bytes(16))), errors.ReleasedRunMismatchError),
    ("logged for another result", entry(result_digest=made.CODES["policy"]), errors.ReleasedResultMismatchError),
    ("logged after another decision", entry(decision=made.CODES["policy"]), errors.ReleasedDecisionMismatchError),
]


@pytest.mark.parametrize(("build", "refusal"), [case[1:] for case in TAMPERED], ids=[case[0] for case in TAMPERED])
def test_one_thing_changed_is_refused_with_its_own_error(
    build: Callable[[], Raw], refusal: type[DataspaceSdkError]
) -> None:
    with pytest.raises(DataspaceSdkError) as caught:
        verify_answer(build(), ASK, made.trust(), NOW)
    assert type(caught.value) is refusal
    assert isinstance(caught.value, errors.VerificationError)


def test_every_error_of_verification_is_shown_and_has_its_own_code() -> None:
    shown = {case[2] for case in TAMPERED}
    assert shown == set(errors.VerificationError.__subclasses__())
    assert len({one.code for one in shown}) == len(shown)


def test_another_persons_answer_is_refused_whole() -> None:
    with pytest.raises(errors.EarRequestMismatchError):
        verify_answer(made.answer_to(OTHER_ASK), ASK, made.trust(), NOW)


def test_a_release_long_after_the_attestation_is_refused_at_any_time() -> None:
    for hour in (made.HOUR + 3600, made.HOUR - 3600):
        with pytest.raises(errors.EarTimeError):
            verify_answer(release(released_at=hour)(), ASK, made.trust(), NOW + 86_400)


def test_an_answer_from_the_future_is_refused() -> None:
    with pytest.raises(errors.EarTimeError):
        verify_answer(made.answer_to(ASK), ASK, made.trust(), NOW - 400)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"broker": b64(made.OTHER.public)}, errors.EarInvalidError),
        ({"accept_node_classes": ["snp", "tpm"]}, errors.NodeClassRefusedError),
        ({"log_key": b64(made.OTHER.public)}, errors.CheckpointInvalidError),
        ({"log_origin": "other.example/log"}, errors.CheckpointInvalidError),
        (
            {"witnesses": {"w/1": b64(made.WITNESS.public), "w/2": b64(made.OTHER.public)}},
            errors.WitnessMissingError,
        ),
    ],
)
def test_other_pins_refuse_a_true_answer(changes: dict[str, Any], refusal: type[DataspaceSdkError]) -> None:
    with pytest.raises(refusal):
        verify_answer(made.answer_to(ASK), ASK, made.trust(**changes), NOW)


def test_no_character_of_a_true_answer_can_change() -> None:
    """Each text of the answer, at places spread over it."""
    raw = made.answer_to(ASK)
    for name in ("sealed", "ear", "release"):
        _assert_refused_everywhere(raw[name], lambda text, name=name: {**raw, name: text})
    for name in ("decision", "released"):
        for part in ("salt", "body"):
            _assert_refused_everywhere(
                raw[name][part], lambda text, name=name, part=part: {**raw, name: {**raw[name], part: text}}
            )
        for place, hashed in enumerate(raw[name]["inclusion"]):
            _assert_refused_everywhere(
                hashed,
                lambda text, name=name, place=place: {
                    **raw,
                    name: {**raw[name], "inclusion": _with(raw[name]["inclusion"], place, text)},
                },
            )


def _with(items: list[str], place: int, text: str) -> list[str]:
    return [*items[:place], text, *items[place + 1 :]]


def _assert_refused_everywhere(text: str, build: Callable[[str], Raw]) -> None:
    for place in range(0, len(text), max(1, len(text) // 12)):
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        with pytest.raises(errors.VerificationError):
            verify_answer(build(changed), ASK, made.trust(), NOW)


def test_an_ask_survives_a_restart_and_hides_its_seed() -> None:
    again = Ask.from_json(ASK.to_json())
    assert again == ASK
    assert verify_answer(made.answer_to(ASK), again, made.trust(), NOW).answer is not None
    assert ASK.to_json()["seed"] not in repr(ASK)
    assert str(ASK.seed) not in repr(ASK)


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {**ASK.to_json(), "v": 2},
        {**ASK.to_json(), "more": 1},
        {**ASK.to_json(), "seed": OTHER_ASK.to_json()["seed"]},
        {**ASK.to_json(), "seed": "AA"},
        {**ASK.to_json(), "request": "x"},
        {**ASK.to_json(), "request": made.OPERATOR.sign("use-request", {"result_key": 1})},
        {**ASK.to_json(), "request": 7},
        7,
    ],
)
def test_anything_but_a_stored_ask_is_refused(stored: Any) -> None:
    with pytest.raises(errors.AskInvalidError):
        Ask.from_json(stored)


@pytest.mark.parametrize(
    "changes",
    [
        {"registrar": "AA"},
        {"witnesses": {}},
        {"witnesses": []},
        {"witness_quorum": 0},
        {"witness_quorum": 3},
        {"witness_quorum": True},
        {"witnesses": {"a": b64(made.WITNESS.public), "b": b64(made.WITNESS.public)}},
        {"witnesses": {"a": b64(made.LOG.public), "b": b64(made.WITNESS.public)}},
        {"accept_node_classes": []},
        {"accept_node_classes": [[]]},
        {"more": 1},
    ],
)
def test_pins_that_prove_nothing_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigError):
        made.trust(**changes)


def test_a_key_of_another_size_is_refused() -> None:
    with pytest.raises(errors.ConfigError):
        type(made.identity())("x", b"short")
    assert SigningKey(made.OPERATOR.seed).public == made.identity().key().public
    assert str(made.OPERATOR.seed) not in repr(made.identity())
