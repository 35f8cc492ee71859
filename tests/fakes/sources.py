"""A source between two worlds: residents' keyrings on one side, a service that is a function on the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from connectors.sources.agent import SourceAgent
from connectors.sources.csv_records import SourceRecord
from connectors.sources.state import SourceState
from dataspace.kernel.encoding import unb64
from dataspace.kernel.jws import SigningKey
from vault.envelope import SlotContext, open_record, open_slot, record_key
from vault.keyring import Keyring
from vault.records import Record, read_record
from vault.suite1 import OpeningKey, epoch_key_digest

NOW = 1_760_000_000
SOURCE_ID = "clinic"
AUDIENCE = "urn:pds:here"
KEY = SigningKey(bytes([4]) * 32)

Outcome = dict[str, Any]


class FakeService:
    """Answers as ``judge`` says about each item, and the same again for the same number."""

    def __init__(self) -> None:
        self.judge: Callable[[dict[str, Any]], Outcome] = lambda item: {"accepted": len(item["records"])}
        self.statements: dict[str, list[str]] = {}
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.answers: dict[str, dict[str, Any]] = {}
        self.down = False
        self.lose_answer = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        if self.down:
            raise httpx.ConnectError("no route", request=request)
        if request.url.path == "/v1/token":
            return httpx.Response(200, json={"token": "t", "expires_in": 300})
        if request.url.path.endswith("/statements"):
            known = self.statements[request.url.path.split("/")[-2]]
            return httpx.Response(200, json={"statements": known[int(request.url.params["after"]) :]})
        self.bodies.append(request.content)
        body = json.loads(request.content)
        if body["delivery"] not in self.answers:
            places = [{"link_id": i["link_id"], "collection": i["collection"], **self.judge(i)} for i in body["items"]]
            self.answers[body["delivery"]] = {"delivery_id": "d", "items": places}
        if self.lose_answer:
            raise httpx.ReadTimeout("too late", request=request)
        return httpx.Response(200, json=self.answers[body["delivery"]])

    def accepted(self) -> list[dict[str, Any]]:
        """Items taken, in the order of their arrival."""
        found = []
        for token, answer in self.answers.items():
            body = next(b for b in map(json.loads, self.bodies) if b["delivery"] == token)
            found += [i for i, o in zip(body["items"], answer["items"], strict=True) if "accepted" in o]
        return found


class Clinic:
    """One source over one folder; :meth:`restart` gives a new process over the same state."""

    def __init__(self, folder: Path, service: FakeService | None = None) -> None:
        self.folder = folder
        self.service = service or FakeService()
        self.http = httpx.Client(transport=httpx.MockTransport(self.service), base_url="http://service")
        self._open()

    def _open(self) -> None:
        self.state = SourceState(self.folder / "state.db", bytes(32))
        self.agent = SourceAgent(SOURCE_ID, KEY, self.state, self.http, AUDIENCE)

    def restart(self) -> None:
        self.state.close()
        self._open()

    def link(self, person: str, ring: Keyring, now: int = NOW) -> str:
        """Link and tell the fake service about the chain; answers the link's id."""
        self.agent.link(person, ring.statements, ring.subject, now)
        known = self.state.link_of(person)
        assert known is not None
        self.service.statements[known.link_id] = ring.statements
        return known.link_id

    def close(self) -> None:
        self.state.close()
        self.http.close()


def smoking(person: str, year: int, *, quit_: bool = True) -> SourceRecord:
    return SourceRecord(person, "smoking", {"quit": quit_, "observed_year": year}, 2)


def opened(
    items: list[dict[str, Any]], ring: Keyring, source_id: str = SOURCE_ID, key: SigningKey = KEY
) -> list[Record]:
    """What the resident finds in delivered items."""
    keys = [OpeningKey(seed) for seed in ring.seeds.values()]
    found = []
    for item in items:
        place = SlotContext(item["slot_id"], item["collection"], item["epoch_key"], source_id)
        epoch = next(one for one in keys if epoch_key_digest(one.public) == place.epoch_key)
        slot_key = open_slot(epoch, place, unb64(item["slot"]))
        for record in item["records"]:
            name = record["record_id"]
            payload = open_record(record_key(slot_key, name), name, place, unb64(record["sealed"]))
            found.append(read_record(payload, name, place, key.public))
    return found
