"""Settings: one frozen object, read once at start from the environment (``DATASPACE_…``), handed to ``create_app``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything a service process needs to know. Secrets are files below ``home``, never values in here."""

    model_config = SettingsConfigDict(env_prefix="DATASPACE_", frozen=True, extra="forbid")

    home: Path = Path(".dataspace")
    database_url: str = ""
    """Empty: SQLite in ``home``. Else ``postgresql+psycopg://…``."""
    audience: str = "urn:pds:demo-district"
    controller: str = "示范区数据局"
    environment: Literal["development", "production"] = "development"
    engine: Literal["embedded", "opa_server"] = "embedded"
    opa_url: str = ""
    log_origin: str = "pds.example/demo-district"
    witness_name: str = "witness.example/same-operator"
    witness_quorum: int = Field(default=1, ge=0)
    max_body_bytes: int = 32 * 1024 * 1024

    @property
    def service_home(self) -> Path:
        return self.home / "service"

    @property
    def broker_home(self) -> Path:
        return self.home / "broker"

    @property
    def node_home(self) -> Path:
        return self.home / "node"

    @property
    def witness_home(self) -> Path:
        return self.home / "witness"

    @property
    def sockets(self) -> Path:
        """Unix sockets between the processes of this host; the folder is for its owner alone."""
        return self.home / "run"
