"""The two faces over a service with the service's own checks: same calls, same outcomes, tokens renewed unseen."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import runpy
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from dataspace_sdk import (
    Answered,
    Ask,
    AsyncDataspace,
    Dataspace,
    DataspaceSdkError,
    Denied,
    Pending,
    RefusedError,
    UnavailableError,
    client,
    errors,
    product_digest,
)
from dataspace_sdk.cli import DENIED, FAILED, PENDING, main

from tests.sdk import fabricated as made
from tests.sdk.fabricated import NOW, Service

URL = "https://space.example"
DENIAL = {"status": "denied", "reasons": [{"code": "withdrawn_grant", "zh": "已撤回", "en": "withdrawn"}]}


class AwaitedFace:
    """AsyncDataspace as if it were Dataspace, so that every test runs on both."""

    def __init__(self, inner: AsyncDataspace) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not inspect.iscoroutinefunction(found):
            return found
        return lambda *arguments, **named: asyncio.run(found(*arguments, **named))


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest, service: Service) -> Iterator[Any]:
    transport = httpx.MockTransport(service)
    if request.param == "sync":
        with httpx.Client(transport=transport) as http:
            yield Dataspace(URL, made.identity(), made.trust(), http, clock=service.clock)
    else:
        http_async = httpx.AsyncClient(transport=transport)
        yield AwaitedFace(AsyncDataspace(URL, made.identity(), made.trust(), http_async, clock=service.clock))
        asyncio.run(http_async.aclose())


def asked(face: Any, service: Service, kind: str = "individual") -> Ask:
    service.put(made.manifest(kind))
    product = next(item for item in face.products() if item.kind == kind)
    ask: Ask = face.ask(product, handle="a-handle" if kind == "individual" else None, days=7)
    return ask


def answered(ask: Ask) -> dict[str, Any]:
    return {"status": "answered", "answer": made.answer_to(ask)}


@pytest.mark.parametrize("kind", ["individual", "cohort"])
def test_ask_wait_answer(face: Any, service: Service, kind: str) -> None:
    ask = asked(face, service, kind)
    service.outcomes = [{"status": "asked"}, {"status": "asked"}, answered(ask)]
    assert face.answer(ask) == Pending()
    outcome = face.wait(ask, timeout_s=5, poll_s=0.01)
    assert isinstance(outcome, Answered)
    assert (outcome.answer is None, outcome.table is None) == (kind == "cohort", kind == "individual")
    assert service.tokens == 1
    assert list(service.asked) == [ask.request_digest]


def test_both_faces_give_the_same(service: Service) -> None:
    found = []
    service.put(made.manifest())
    with httpx.Client(transport=httpx.MockTransport(service)) as http:
        sync = Dataspace(URL, made.identity(), made.trust(), http, clock=service.clock)
        ask = sync.ask(sync.products()[0], handle="a-handle")
        raw = answered(ask)
        service.outcomes = [raw, raw]
        found = [sync.products(), sync.answer(ask)]

    async def awaited() -> list[Any]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(service)) as http:
            face = AsyncDataspace(URL, made.identity(), made.trust(), http, clock=service.clock)
            return [await face.products(), await face.answer(ask)]

    assert asyncio.run(awaited()) == found


def test_a_denial_is_a_value_with_reasons(face: Any, service: Service) -> None:
    ask = asked(face, service)
    service.outcomes = [DENIAL]
    outcome = face.wait(ask, timeout_s=5)
    assert isinstance(outcome, Denied)
    assert [(reason.code, reason.en) for reason in outcome.reasons] == [("withdrawn_grant", "withdrawn")]


def test_a_false_answer_is_an_error_even_while_waiting(face: Any, service: Service) -> None:
    ask = asked(face, service)
    raw = answered(ask)
    service.outcomes = [{**raw, "answer": {**raw["answer"], "ear": made.ear(ask, status="warning")}}]
    with pytest.raises(errors.EarNotAffirmingError):
        face.wait(ask, timeout_s=5)


def test_waiting_ends(face: Any, service: Service) -> None:
    ask = asked(face, service)
    service.outcomes = [{"status": "asked"}] * 50
    assert face.wait(ask, timeout_s=0.05, poll_s=0.02) == Pending()
    assert 45 <= len(service.outcomes) <= 48


def test_waiting_outlasts_a_service_that_is_away(face: Any, service: Service) -> None:
    ask = asked(face, service)
    away = httpx.Response(503, json={"code": "log_unavailable", "detail": "later"})
    service.outcomes = [away, httpx.Response(200, content=b"<html>"), answered(ask)]
    assert isinstance(face.wait(ask, timeout_s=5, poll_s=0.01), Answered)
    service.outcomes = [away] * 9
    with pytest.raises(UnavailableError) as caught:
        face.wait(ask, timeout_s=0.02, poll_s=0.01)
    assert (caught.value.code, caught.value.status) == ("log_unavailable", 503)


@pytest.mark.parametrize(
    ("outcome", "refusal", "code"),
    [
        ((403, {"json": {"code": "request_unknown", "detail": "none"}}), RefusedError, "request_unknown"),
        ((404, {"text": "nothing"}), RefusedError, "refused"),
        ((429, {"json": {"code": "slow_down"}}), UnavailableError, "slow_down"),
        ((302, {"headers": {"location": "https://elsewhere"}}), UnavailableError, "unavailable"),
        ((200, {"json": []}), UnavailableError, "unavailable"),
        ({"status": "new"}, UnavailableError, "unavailable"),
        ({"status": "answered", "answer": 7}, UnavailableError, "unavailable"),
        ({"status": "answered", "answer": {}}, errors.AnswerMalformedError, "answer_malformed"),
    ],
)
def test_what_is_no_answer_is_an_error(
    face: Any, service: Service, outcome: Any, refusal: type[DataspaceSdkError], code: str
) -> None:
    ask = asked(face, service)
    service.outcomes = [httpx.Response(outcome[0], **outcome[1]) if isinstance(outcome, tuple) else outcome]
    with pytest.raises(refusal) as caught:
        face.answer(ask)
    assert caught.value.code == code


def test_a_connection_that_fails_is_unavailable() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route", request=request)

    with httpx.Client(transport=httpx.MockTransport(broken)) as http, pytest.raises(UnavailableError):
        Dataspace(URL, made.identity(), made.trust(), http).products()


def test_a_token_is_renewed_before_it_ends(face: Any, service: Service) -> None:
    face.products()
    service.now += 269
    face.products()
    assert service.tokens == 1
    service.now += 1
    face.products()
    assert service.tokens == 2


def test_a_token_that_is_no_longer_taken_is_renewed_once(face: Any, service: Service) -> None:
    face.products()
    service.refused_tokens = {"Bearer token-1"}
    assert face.products() == []
    assert service.tokens == 2
    service.refused_tokens = {"Bearer token-2", "Bearer token-3"}
    with pytest.raises(RefusedError) as caught:
        face.products()
    assert (caught.value.code, service.tokens) == ("unauthenticated", 3)


def test_an_operator_that_the_service_does_not_know_is_told_so(service: Service) -> None:
    identity = type(made.identity())(made.BANK, made.OTHER.seed)
    with httpx.Client(transport=httpx.MockTransport(service)) as http, pytest.raises(RefusedError) as caught:
        Dataspace(URL, identity, made.trust(), http, clock=service.clock).products()
    assert caught.value.status == 401


def test_products_are_verified(face: Any, service: Service) -> None:
    own = service.put(made.manifest())
    other = service.put(made.manifest("cohort", "research-institute"), key=made.OTHER)
    expired = made.manifest("cohort")
    service.put(expired, listing=made.listing(expired, not_after=NOW))
    found = {product.digest: product for product in face.products()}
    assert {name: product.signature_verified for name, product in found.items()} == {own: True, other: False}
    assert found[own].digest == product_digest(made.manifest())
    assert (found[own].product_id, found[own].reviewers) == (
        made.manifest()["product_id"],
        ("reviewer-1", "reviewer-2"),
    )
    with pytest.raises(errors.ProductNotOwnError):
        face.ask(found[other])


@pytest.mark.parametrize(
    "changes",
    [
        {"listing": made.listing(made.manifest(), key=made.OTHER)},
        {"listing": made.listing(made.manifest(), reviewers=["one"])},
        {"listing": made.listing(made.manifest(), reviewers=["one", "one"])},
        {"listing": made.listing(made.manifest("cohort"))},
        {"listing": made.listing(made.manifest(), version=9)},
        {"listing": made.listing(made.manifest(), operator_id="other")},
        {"listing": None},
        {"product": made.OTHER.sign("product", made.manifest())},
        {"product": made.OPERATOR.sign("listing", made.manifest())},
        {"product": made.OPERATOR.sign("product", {**made.manifest(), "more": 1})},
        {"product": "x"},
        {"product_digest": made.CODES["policy"]},
    ],
)
def test_a_product_that_is_not_listed_like_this_is_refused(
    face: Any, service: Service, changes: dict[str, Any]
) -> None:
    service.put(made.manifest(), **changes)
    with pytest.raises(errors.ListingInvalidError):
        face.products()


def test_a_manifest_of_another_operator_is_the_one_that_was_reviewed(face: Any, service: Service) -> None:
    reviewed = made.manifest("cohort", "research-institute")
    changed = {**reviewed, "purpose": "CreditChecking"}
    for product in (made.OTHER.sign("product", changed), made.OTHER.sign("listing", reviewed)):
        service.catalogue = []
        service.put(reviewed, product=product)
        with pytest.raises(errors.ListingInvalidError):
            face.products()


def test_publish(face: Any, service: Service) -> None:
    payload = made.manifest()
    product = face.publish(payload, made.listing(payload))
    assert face.products() == [product]
    assert face.sign_product(payload) == service.catalogue[0]["product"]
    with pytest.raises(errors.ListingInvalidError):
        face.publish(payload, made.listing(made.manifest("cohort")))
    with pytest.raises(errors.ProductNotOwnError):
        face.publish(made.manifest("individual", "other"), made.listing(payload))


def test_an_ask_is_checked_before_it_is_sent(face: Any, service: Service) -> None:
    service.put(made.manifest())
    service.put(made.manifest("cohort"))
    individual, cohort = sorted(face.products(), key=lambda product: product.kind, reverse=True)
    for product, named in ((individual, {}), (cohort, {"handle": "h"}), (individual, {"handle": "h", "days": 0})):
        with pytest.raises(errors.AskInvalidError):
            face.ask(product, **named)
    with pytest.raises(errors.ProductNotOwnError):
        face.ask(replace(individual, signature_verified=False), handle="h")
    ask = face.new_ask(individual, handle="h")
    assert service.asked == {}
    assert face.send(ask) is ask
    assert face.send(Ask.from_json(ask.to_json())) == ask
    assert len(service.asked) == 1
    again = face.new_ask(individual, handle="h")
    assert again.seed != ask.seed
    assert again.request_digest != ask.request_digest


def test_an_ask_of_another_operator_is_not_sent(face: Any, service: Service) -> None:
    ask = asked(face, service)
    stranger = Dataspace(URL, type(made.identity())(made.BANK, made.OTHER.seed), made.trust(), clock=service.clock)
    with stranger, pytest.raises(errors.AskInvalidError):
        stranger.answer(ask)


def test_nothing_secret_is_logged_or_printed(
    service: Service, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)
    with httpx.Client(transport=httpx.MockTransport(service)) as http:
        face = Dataspace(URL, made.identity(), made.trust(), http, clock=service.clock)
        ask = asked(face, service)
        service.outcomes = [answered(ask)]
        face.answer(ask)
    assert capsys.readouterr() == ("", "")
    for secret in ("token-1", ask.to_json()["seed"], made.SAID["reason"]):
        assert str(secret) not in caplog.text


@pytest.mark.parametrize("url", ["http://space.example", "ftp://space.example", "space.example"])
def test_tokens_do_not_travel_in_the_clear(url: str) -> None:
    for kind in (Dataspace, AsyncDataspace):
        with pytest.raises(errors.ConfigError):
            kind(url, made.identity(), made.trust())
    Dataspace("http://127.0.0.1:8000", made.identity(), made.trust()).close()


# the shell


@pytest.fixture
def config(tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config file, and the service behind whatever client the SDK makes."""
    plain = httpx.Client
    monkeypatch.setattr(client.httpx, "Client", lambda **named: plain(transport=httpx.MockTransport(service), **named))
    monkeypatch.setattr(client.time, "time", lambda: float(service.now))
    key = tmp_path / "operator.key"
    key.write_text(made.b64(made.OPERATOR.seed) + "\n")
    key.chmod(0o600)
    path = tmp_path / "config.json"
    values = {"base_url": URL, "operator_id": made.BANK, "key_file": "operator.key", "trust": made.trust_json()}
    path.write_text(json.dumps(values))
    return path


def run(config: Path, *arguments: str) -> int:
    return main(["--config", str(config), *arguments])


def test_the_shell_asks_and_answers(
    config: Path, service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = service.put(made.manifest())
    assert run(config, "products") == 0
    assert json.loads(capsys.readouterr().out)[0]["product_digest"] == name
    path = tmp_path / "ask.json"
    assert run(config, "ask", name, "--handle", "h", "--days", "7", "--out", str(path)) == 0
    shown = capsys.readouterr().out
    stored = json.loads(path.read_text())
    assert stored["seed"] not in shown
    assert path.stat().st_mode & 0o777 == 0o600
    service.outcomes = [{"status": "asked"}, DENIAL, answered(Ask.from_json(stored))]
    assert [run(config, "answer", str(path)) for _ in range(3)] == [PENDING, DENIED, 0]
    assert '"answer": "yes"' in capsys.readouterr().out
    assert run(config, "ask", name, "--handle", "h", "--out", str(path)) == FAILED, "an ask is never overwritten"
    assert json.loads(path.read_text()) == stored
    assert run(config, "ask", made.CODES["policy"], "--out", str(path)) == FAILED


def test_the_shell_says_what_is_wrong(
    config: Path, service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> str:
        assert run(config, *arguments) == FAILED
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err

    assert "config_invalid" in said("answer", str(tmp_path / "none.json"))
    (tmp_path / "list.json").write_text("[]")
    assert "not a JSON object" in said("answer", str(tmp_path / "list.json"))
    key = tmp_path / "operator.key"
    key.chmod(0o644)
    assert "chmod 600" in said("products")
    key.chmod(0o600)
    key.write_text("no key")
    assert "32-byte seed" in said("products")
    config.write_text("{}")
    assert "base_url" in said("products")
    with pytest.raises(SystemExit) as usage:
        main([])
    assert usage.value.code == 2


def test_the_module_runs(config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["dataspace-sdk", "--config", str(config), "products"])
    with pytest.raises(SystemExit) as done:
        runpy.run_module("dataspace_sdk", run_name="__main__")
    assert done.value.code == 0
    assert json.loads(capsys.readouterr().out) == []


def test_the_example_of_the_readme_is_true(
    config: Path, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (Path(__file__).parents[2] / "sdk" / "README.md").read_text("utf-8")
    blocks = re.findall(r"```(\w+)\n(.*?)```", readme, re.DOTALL)
    code = next(text for language, text in blocks if language == "python")
    shown = json.loads(next(text for language, text in blocks if language == "json"))
    assert shown.keys() == json.loads(config.read_text()).keys()
    assert shown["trust"].keys() == made.trust_json().keys()
    service.put(made.manifest())
    (tmp_path / "trust.json").write_text(json.dumps(made.trust_json()))
    (tmp_path / "operator.seed").write_bytes(made.OPERATOR.seed)
    monkeypatch.chdir(tmp_path)
    original = Dataspace.wait

    def granted(self: Dataspace, ask: Ask, **named: Any) -> Any:
        service.outcomes = [answered(ask)]
        return original(self, ask, **named)

    monkeypatch.setattr(Dataspace, "wait", granted)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102  # the example is what is tested
    assert capsys.readouterr().out == "yes sw-dev 8\n"
