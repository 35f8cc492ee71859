"""A simulated authority: its own program, key, CSV files and list of persons. ``python -m demo.authority``.

It checks a person by its own means, which are simulated here: whoever gives the number that the authority has for a
name counts as that person. Nobody sends it an ID number, and it tells the service nothing but sealed records.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from connectors.faces import install_problems
from connectors.sources.agent import LinkRefusedError, SourceAgent
from connectors.sources.csv_records import CsvMapping, check, read_records
from connectors.sources.state import SourceState
from dataspace.app import configure_logging
from dataspace.kernel.clock import Clock, system_clock
from dataspace.kernel.files import private_folder, secret
from dataspace.kernel.jws import SigningKey
from dataspace.serving import run_program, unix_socket
from demo import mappings
from demo.csvfiles import read_persons

AUTHORITIES = {
    "health": ("示范区医院", "Demonstration hospital", ["vitals", "smoking"]),
    "civil_affairs": ("示范区民政", "Demonstration civil affairs", ["demographics", "residence"]),
    "tax": ("示范区税务", "Demonstration tax office", ["wages"]),
    "social_insurance": ("示范区社保", "Demonstration social insurance", ["social_insurance"]),
}


class LinkBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    label: str
    person_no: str
    subject: str
    statements: list[str]


class Authority:
    """One authority over its CSV folders."""

    def __init__(self, name: str, home: Path, data: list[Path], service: httpx.Client, audience: str) -> None:
        private_folder(home)
        state = SourceState(home / "state.db", secret(home / "rows.key"))
        self.agent = SourceAgent(name, source_key(home), state, service, audience)
        self.files: list[tuple[Path, CsvMapping]] = []
        self.persons: dict[str, str] = {}
        for folder in data:
            if (folder / name).is_dir():
                self.persons |= read_persons(folder / name)
            known = {**mappings.STUDY, **mappings.DISTRICT}
            self.files += [(folder / place, one) for place, one in known.items() if _is_own(place, name, folder)]

    def link(self, body: LinkBody, now: int) -> str:
        if self.persons.get(body.label) != body.person_no:
            raise LinkRefusedError("the person could not be confirmed", code="person_not_confirmed")
        return self.agent.link(body.person_no, body.statements, body.subject, now)

    def deliver(self, now: int) -> dict[str, Any]:
        """Check every file whole, then seal and send what is new; retired epochs are sealed again once."""
        problems = [str(item) for path, mapping in self.files for item in check(path, mapping)]
        if problems:
            return {"problems": problems, "accepted": 0, "refused": {}}
        accepted, refused = 0, dict[str, int]()
        for _ in range(2):
            for path, mapping in self.files:
                self.agent.prepare(read_records(path, mapping), now)
            sent = self.agent.send(now)
            accepted += sent.accepted
            refused = sent.refused
            if "retired_epoch" not in refused:
                break
        return {"problems": [], "accepted": accepted, "refused": refused}


def _is_own(place: str, name: str, folder: Path) -> bool:
    return place.startswith(f"{name}/") and (folder / place).exists()


def source_key(home: Path) -> SigningKey:
    return SigningKey(secret(home / "source.key"))


def create_authority(authority: Authority, clock: Clock) -> FastAPI:
    app = FastAPI(title="simulated authority", openapi_url=None, docs_url=None, redoc_url=None)

    install_problems(app)

    @app.get("/v1/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/links")
    def links(body: LinkBody) -> dict[str, str]:
        return {"link": authority.link(body, clock())}

    @app.post("/v1/deliver")
    def deliver() -> dict[str, Any]:
        return authority.deliver(clock())

    return app


def main() -> None:
    """``python -m demo.authority NAME HOME SOCKETS AUDIENCE DATA…``."""
    name, home, sockets, audience, *data = sys.argv[1:]
    configure_logging()
    transport = httpx.HTTPTransport(uds=f"{sockets}/service.sock", retries=1)
    service = httpx.Client(transport=transport, base_url="http://service", timeout=60)
    authority = Authority(name, Path(home), [Path(item) for item in data], service, audience)
    run_program(create_authority(authority, system_clock), [unix_socket(Path(sockets) / f"{name}.sock")])


if __name__ == "__main__":
    main()
