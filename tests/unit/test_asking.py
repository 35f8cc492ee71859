"""What client, service and broker check alike before a question is shown and before a grant counts."""

from __future__ import annotations

from typing import Any

import pytest

from consent.asking import (
    check_grant_answers,
    check_grant_shape,
    notice_of,
    verify_grant_key,
    verify_product,
    verify_request,
)
from consent.model import (
    DAY,
    Cohort,
    Computation,
    Grant,
    GrantTerms,
    Input,
    SealedKeyName,
    Subject,
    grant_set,
    sealed_key_digest,
)
from dataspace.kernel.encoding import b64, digest
from dataspace.kernel.errors import DataspaceError
from tests.fakes import papers

REGISTRAR, OPERATOR, BROKER = papers.REGISTRAR, papers.OPERATOR, papers.BROKER
ASK = papers.ask()
LISTED, REQUEST = ASK.listed, ASK.request.content
TERMS = papers.terms(ASK)
LICENCE = papers.LICENCE.sign(REGISTRAR)
SEALED = [b"sealed for one slot"]
OTHER = papers.signing_key("another operator")


def code_of(attempt: Any, *arguments: Any, **members: Any) -> str:
    with pytest.raises(DataspaceError) as refused:
        attempt(*arguments, **members)
    return refused.value.code


def scope(**changes: Any) -> Any:
    return (TERMS.scope[0].model_copy(update=changes),)


# products


def test_a_listed_product_is_verified_up_to_the_registrar() -> None:
    product = papers.product()
    token, listing = product.sign(OPERATOR), papers.listing(product).sign(REGISTRAR)
    assert verify_product(LICENCE, token, listing, REGISTRAR.public).product.content == product
    for attempt in (
        (LICENCE, token, listing, OPERATOR.public),
        (papers.LICENCE.sign(OTHER), token, listing, REGISTRAR.public),
        (LICENCE, product.sign(OTHER), listing, REGISTRAR.public),
        (LICENCE, token, papers.listing(product).sign(OPERATOR), REGISTRAR.public),
    ):
        assert code_of(verify_product, *attempt) == "signature_invalid"


def test_the_names_in_licence_product_and_review_agree() -> None:
    product, other = papers.product(), papers.product(operator_id="another")
    for made, listed, code in (
        (other, papers.listing(other), "product_operator_mismatch"),
        (product, papers.listing(papers.product(version=2)), "product_mismatch"),
        (product, papers.listing(product, reviewers=("one",)), "not_registered"),
        (product, papers.listing(product, reviewers=("one", "one")), "not_registered"),
    ):
        tokens = (LICENCE, made.sign(OPERATOR), listed.sign(REGISTRAR))
        assert code_of(verify_product, *tokens, REGISTRAR.public) == code


@pytest.mark.parametrize(
    "changes",
    [
        {"cohort": Cohort(space="s", collections=("wages",))},
        {**papers.ONGOING, "cohort": None},
        {"grant": GrantTerms(mode="one_time", days=7, uses=2)},
        {"inputs": (Input(collection="wages", schema_id="wages/1", fields=("month",), window=None),) * 2},
    ],
)
def test_a_product_holds_together(changes: dict[str, Any]) -> None:
    assert code_of(papers.listed_product, **changes) == "request_invalid"


# requests


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"product_digest": digest("test", "another")}, "product_mismatch"),
        ({"purpose": "AcademicResearch"}, "request_purpose_mismatch"),
        ({"parameters": {"least_months": 8}}, "parameters_changed"),
        ({"parameters": {}}, "parameters_changed"),
        ({"subject": Subject(kind="cohort", handle=None)}, "request_invalid"),
        ({"subject": Subject(kind="individual", handle=None)}, "request_invalid"),
    ],
)
def test_a_request_asks_for_exactly_the_product(changes: dict[str, Any], code: str) -> None:
    assert code_of(verify_request, LISTED, papers.use_request(LISTED, **changes).sign(OPERATOR)) == code


def test_nobody_else_asks_in_the_operators_name_and_a_cohort_has_no_handle() -> None:
    assert code_of(verify_request, LISTED, REQUEST.sign(OTHER)) == "signature_invalid"
    cohort = papers.listed_product(**papers.ONGOING)
    named = papers.use_request(cohort, subject=Subject(kind="cohort", handle="somebody"))
    assert code_of(verify_request, cohort, named.sign(OPERATOR)) == "request_invalid"
    assert verify_request(cohort, papers.use_request(cohort).sign(OPERATOR)).content.subject.handle is None


def test_the_key_for_the_answer_is_the_brokers_for_this_request_and_in_time() -> None:
    key = papers.grant_key(ASK.request.digest)

    def check(token: str, request_digest: str = ASK.request.digest, now: int = papers.NOW) -> object:
        return verify_grant_key(token, BROKER.public, request_digest, now)

    assert check(key.sign(BROKER), now=key.not_after - 1) is not None
    assert code_of(check, key.sign(OTHER)) == "substituted_broker_key"
    assert code_of(check, key.sign(BROKER), digest("test", "another")) == "substituted_broker_key"
    assert code_of(check, key.sign(BROKER), now=key.not_after) == "ask_expired"


# terms


def test_terms_are_never_wider_than_the_question() -> None:
    product = LISTED.product.content
    assert [(s.collection, s.fields, s.slots) for s in TERMS.scope] == [
        ("wages", papers.FIELDS, (papers.PLACE.slot_id,))
    ]
    assert (TERMS.recipient, TERMS.purpose) == (papers.OPERATOR_ID, product.purpose)
    assert (TERMS.not_after - TERMS.not_before, TERMS.uses, TERMS.mode) == (7 * DAY, 1, "one_time")
    assert (TERMS.request_digest, TERMS.broker_key) == (ASK.request.digest, ASK.grant_key.content.key_id)
    ongoing = papers.terms(papers.ask(**papers.ONGOING))
    assert (ongoing.mode, ongoing.uses, ongoing.scope[0].slots) == ("ongoing", 3, ())
    check_grant_answers(TERMS, LISTED, REQUEST)


def test_the_notice_tells_what_was_on_the_screen_in_which_language() -> None:
    chinese, english = (notice_of(ASK, language, answer_shown=False) for language in ("zh", "en"))
    assert chinese.digest != english.digest
    assert (chinese.language, chinese.answer_shown) == ("zh", False)
    assert chinese.digest == digest("notice", "示范银行", "我同意银行问一次。", LISTED.product.digest)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"recipient": "another"}, "recipient_mismatch"),
        ({"product_digest": digest("test", "another")}, "grant_product_mismatch"),
        ({"purpose": "AcademicResearch"}, "purpose_not_granted"),
        ({"scope": scope(fields=("month",))}, "field_outside_grant"),
        ({"scope": scope(collection="vitals")}, "field_outside_grant"),
        ({"mode": "ongoing"}, "grant_too_wide"),
        ({"uses": 2}, "grant_too_wide"),
        ({"not_after": TERMS.not_after + 1}, "grant_too_wide"),
        ({"not_before": TERMS.not_before - 1}, "grant_too_wide"),
    ],
)
def test_a_grant_answers_one_question(changes: dict[str, Any], code: str) -> None:
    assert code_of(check_grant_answers, TERMS.model_copy(update=changes), LISTED, REQUEST) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"operator_id": "another"}, "recipient_mismatch"),
        ({"product_digest": digest("test", "another")}, "grant_product_mismatch"),
        ({"purpose": "AcademicResearch"}, "purpose_not_granted"),
    ],
)
def test_another_question_is_not_answered_by_it(changes: dict[str, Any], code: str) -> None:
    assert code_of(check_grant_answers, TERMS, LISTED, REQUEST.model_copy(update=changes)) == code


# sealed keys


def grant(sealed: Any = (), **changes: Any) -> Grant:
    name = SealedKeyName(
        collection="wages",
        epoch_key=papers.PLACE.epoch_key,
        kind="slot",
        slot=papers.PLACE.slot_id,
        digest=sealed_key_digest(SEALED[0]),
    )
    names = tuple(name.model_copy(update=change) for change in sealed) or (name,)
    return Grant(grant=TERMS.model_copy(update=changes), sealed=names)


def test_the_sealed_keys_are_those_of_the_scope() -> None:
    check_grant_shape(grant(), SEALED)
    ongoing = {"mode": "ongoing", "scope": scope(slots=())}
    check_grant_shape(grant([{"kind": "epoch", "slot": ""}], **ongoing), SEALED)
    for names, changes in (
        ([{"collection": "vitals"}], {}),
        ([{"epoch_key": digest("test", "another")}], {}),
        ([{"kind": "epoch", "slot": ""}], {}),
        ([{"slot": "another"}], {}),
        ([{}, {}], {}),
        ([{}], {"scope": scope(slots=())}),
        ([{}], ongoing),
        ([{"kind": "epoch", "slot": ""}], {"mode": "ongoing"}),
    ):
        assert code_of(check_grant_shape, grant(names, **changes), SEALED * len(names)) == "grant_invalid"


def test_swapped_missing_or_further_sealed_keys_are_refused() -> None:
    for sealed in ([b"others"], [], SEALED * 2):
        assert code_of(check_grant_shape, grant(), sealed) == "swapped_sealed_keys"


@pytest.mark.parametrize(
    "changes",
    [{"not_after": TERMS.not_before}, {"not_before": TERMS.issued_at - 1}, {"not_before": TERMS.not_after + 1}],
)
def test_a_grant_begins_after_it_is_given_and_before_it_ends(changes: dict[str, int]) -> None:
    assert code_of(check_grant_shape, grant(**changes), SEALED) == "grant_invalid"


def test_the_terms_are_bound_into_the_digest() -> None:
    assert TERMS.model_copy(update={"uses": 2}).digest() != TERMS.digest()
    assert grant_set(["b", "a"]) == grant_set(["a", "b"]) != grant_set(["ab"])


def test_parameters_are_numbers_and_words() -> None:
    made = papers.product(computation=Computation(language="cel", text="1", parameters={"n": 1, "s": "x"}))
    assert papers.use_request(papers.listed_product(computation=made.computation)).parameters == {"n": 1, "s": "x"}
    content = papers.use_request(LISTED).payload() | {"parameters": {"least_months": True}, "result_key": b64(b"")}
    assert code_of(verify_request, LISTED, OPERATOR.sign("use-request", content)) == "malformed"
