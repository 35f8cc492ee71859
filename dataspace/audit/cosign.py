"""Asking witnesses to cosign the newest checkpoint (C2SP tlog-witness, the log's side). Blocks no appends."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

import httpx
import structlog

from dataspace.audit import store
from dataspace.audit.errors import LogUnavailableError, WitnessRefusedError, WitnessUnavailableError
from dataspace.audit.proofs import consistency
from dataspace.kernel.db import Database
from dataspace.kernel.errors import DataspaceError, MalformedError, SignatureInvalidError
from dataspace.kernel.note import COSIGNATURE_V1, key_id, parse_note, parse_signature_line, verify_cosignature

SIZE_MEDIA_TYPE = "text/x.tlog.size"
_ATTEMPTS = 3
_log = structlog.get_logger(__name__)


class OtherSizeError(DataspaceError):
    """The witness last cosigned ``size``, not the old size it was told (409)."""

    code = "witness_other_size"

    def __init__(self, size: int) -> None:
        super().__init__("the witness knows another size")
        self.size = size


class WitnessClient:
    """One witness: how to reach it, and the name and Ed25519 key (32 bytes) it is pinned to."""

    def __init__(self, base: httpx.Client, name: str, key: bytes) -> None:
        self._base = base
        self.name = name
        self._key = key

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], checkpoint: str) -> str:
        """The witness's verified signature line.

        Raises :class:`OtherSizeError`, :class:`WitnessRefusedError` or :class:`WitnessUnavailableError`.
        """
        hashes = "".join(f"{base64.b64encode(item).decode()}\n" for item in proof)
        request = f"old {old_size}\n{hashes}\n{checkpoint}"
        try:
            answer = self._base.post("/add-checkpoint", content=request.encode())
        except httpx.HTTPError as error:
            raise WitnessUnavailableError(f"{self.name} cannot be reached") from error
        if answer.status_code == 409:
            self._raise_conflict(answer, old_size)
        if answer.status_code == 422:
            raise WitnessRefusedError(f"{self.name} saw another history of this log")
        if answer.status_code != 200:
            raise WitnessUnavailableError(f"{self.name} answered {answer.status_code}")
        return self._own_line(parse_note(checkpoint)[0], answer.text)

    def _raise_conflict(self, answer: httpx.Response, old_size: int) -> None:
        told = re.fullmatch(r"(0|[1-9][0-9]{0,18})\n", answer.text)
        if told is None or not answer.headers.get("content-type", "").startswith(SIZE_MEDIA_TYPE):
            raise WitnessUnavailableError(f"{self.name} answered a conflict without a size")
        if int(told[1]) == old_size:
            raise WitnessRefusedError(f"{self.name} saw another root of the same size")
        raise OtherSizeError(int(told[1]))

    def _own_line(self, body: str, text: str) -> str:
        """The first line of the answer that is this witness's; lines of unknown keys are ignored (tlog-witness)."""
        try:
            for line in text.splitlines(keepends=True):
                signature = parse_signature_line(line)
                if (signature.name, signature.key_id) == (self.name, key_id(self.name, COSIGNATURE_V1, self._key)):
                    verify_cosignature(body, signature, self._key)
                    return line
        except (MalformedError, SignatureInvalidError) as error:
            raise WitnessUnavailableError(f"{self.name} answered no valid cosignature") from error
        raise WitnessUnavailableError(f"{self.name} answered no cosignature of its own")


class Cosigner:
    """Brings the newest checkpoint to all witnesses and stores what they sign."""

    def __init__(self, database: Database, clients: Sequence[WitnessClient]) -> None:
        self._database = database
        self._clients = clients

    def cosign_now(self) -> None:
        """Ask every witness; one that fails stops no other. Raises WitnessRefusedError before any other failure."""
        failures: list[DataspaceError] = []
        for client in self._clients:
            try:
                self._cosign(client)
            except DataspaceError as error:
                _log.warning("witness_failed", witness=client.name, code=error.code)
                failures.append(error)
        failures.sort(key=lambda error: not isinstance(error, WitnessRefusedError))
        if failures:
            raise failures[0]

    def _cosign(self, client: WitnessClient) -> None:
        with self._database.read() as session:
            known = old_size = store.cosigned_size(session, client.name)
        for _attempt in range(_ATTEMPTS):
            size, note, proof = self._newest(client, old_size)
            if size == known:
                return
            try:
                line = client.add_checkpoint(old_size, proof, note)
            except OtherSizeError as conflict:
                old_size = conflict.size
                continue
            with self._database.write() as session:
                store.save_cosignature(session, size, client.name, line)
            return
        raise WitnessUnavailableError(f"{client.name} kept naming other sizes")

    def _newest(self, client: WitnessClient, old_size: int) -> tuple[int, str, list[bytes]]:
        """Size and text of the newest checkpoint, and its proof from ``old_size``."""
        with self._database.read() as session:
            size = store.newest_checkpoint(session, 0)
            note = store.checkpoint_note(session, size) if size is not None else None
            if size is None or note is None:
                raise LogUnavailableError("the log has no checkpoint yet")
            if old_size > size:
                raise WitnessRefusedError(f"{client.name} has seen a longer log than this one")
            return size, note, consistency(session, old_size, size)
