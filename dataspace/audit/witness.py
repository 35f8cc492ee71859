"""A witness: one key, the memory of one log's newest checkpoint, and C2SP tlog-witness over HTTP.

It runs as its own program, at another organisation than the log's. It cosigns only what extends what it cosigned
before, and remembers durably before it answers.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from dataspace.audit.cosign import SIZE_MEDIA_TYPE
from dataspace.audit.errors import WitnessStateError
from dataspace.kernel.clock import Clock, system_clock
from dataspace.kernel.encoding import b64, unb64
from dataspace.kernel.errors import MalformedError, SignatureInvalidError
from dataspace.kernel.jws import SigningKey
from dataspace.kernel.merkle import EMPTY_ROOT, ProofInvalidError, verify_consistency
from dataspace.kernel.note import (
    COSIGNATURE_V1,
    Checkpoint,
    cosign,
    parse_checkpoint,
    std_unb64,
    verifier_key,
    verify_checkpoint,
)

NOTICE = {
    "zh": "由日志运营方自己运行的见证人不提供任何保护。"
    "只有由其他组织独立运行的见证人才能发现被改写、被分叉或被回退的日志。",
    "en": "A witness run by the operator of the log protects against nothing. Only a witness that another "
    "organisation runs on its own can expose a log that was rewritten, forked or put back.",
}
_MAX_REQUEST = 65536
_OLD_SIZE = re.compile(r"old (0|[1-9][0-9]{0,18})")
_MAX_PROOF = 63


@dataclass(frozen=True)
class Answer:
    """An HTTP answer of the witness."""

    status: int
    text: str = ""
    media_type: str = "text/plain"


class Memory:
    """Key and newest cosigned (size, root) under ``home``. Key without memory, or the reverse, is refused."""

    def __init__(self, home: Path, entropy: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._home = home
        home.mkdir(parents=True, exist_ok=True)
        with self.locked():
            self.key = SigningKey(self._open_key(entropy))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One check-and-remember at a time, over threads and processes."""
        with (self._home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def read(self) -> tuple[int, bytes]:
        """Size and root last cosigned. Call it under :meth:`locked`."""
        try:
            state = json.loads((self._home / "state.json").read_text())
            return int(state["size"]), unb64(state["root"], size=32)
        except (OSError, ValueError, KeyError, TypeError, MalformedError) as error:
            raise WitnessStateError("the witness lost its memory and must be retired") from error

    def remember(self, size: int, root: bytes) -> None:
        """Durable when it returns. Call it under :meth:`locked`."""
        self._replace("state.json", json.dumps({"size": size, "root": b64(root)}).encode())

    def _open_key(self, entropy: Callable[[int], bytes]) -> bytes:
        path = self._home / "witness.key"
        if path.exists():
            self.read()
            return path.read_bytes()
        if not (self._home / "state.json").exists():
            self.remember(0, EMPTY_ROOT)
        if self.read()[0]:
            raise WitnessStateError("the witness lost its key and must be retired")
        self._replace("witness.key", entropy(32))
        return path.read_bytes()

    def _replace(self, name: str, data: bytes) -> None:
        """Write, flush to the disk, rename, flush the folder."""
        temporary = self._home / f"{name}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._home / name)
        folder = os.open(self._home, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Witness:
    """The rules of tlog-witness for one log; ``log_key`` is its Ed25519 key (32 bytes)."""

    def __init__(self, memory: Memory, log_origin: str, log_key: bytes, name: str, clock: Clock) -> None:
        self._memory = memory
        self._origin = log_origin
        self._log_key = log_key
        self._name = name
        self._clock = clock

    def about(self) -> dict[str, Any]:
        public = self._memory.key.public
        return {
            "name": self._name,
            "origin": self._origin,
            "key": b64(public),
            "vkey": verifier_key(self._name, COSIGNATURE_V1, public),
            "protects_against": "nothing, if the operator of the log runs it",
            "notice": NOTICE,
        }

    def add_checkpoint(self, request: bytes) -> Answer:
        """tlog-witness "add-checkpoint": 200 with a signature line, or 400, 403, 404, 409, 422."""
        try:
            old_size, proof, note = _parse_request(request)
            claimed = parse_checkpoint(note)
        except (MalformedError, UnicodeDecodeError):
            return Answer(400, "malformed\n")
        if claimed.origin != self._origin:
            return Answer(404, "unknown log\n")
        try:
            checkpoint = verify_checkpoint(note, self._log_key, self._origin, {}, 0)
        except SignatureInvalidError:
            return Answer(403, "not signed by the log\n")
        if old_size > checkpoint.size:
            return Answer(400, "the old size is larger than the new one\n")
        with self._memory.locked():
            return self._extend(old_size, proof, checkpoint)

    def _extend(self, old_size: int, proof: Sequence[bytes], checkpoint: Checkpoint) -> Answer:
        size, root = self._memory.read()
        if old_size != size or (checkpoint.size == size and checkpoint.root != root):
            return Answer(409, f"{size}\n", SIZE_MEDIA_TYPE)
        try:
            _require_extension(size, root, proof, checkpoint)
        except ProofInvalidError:
            return Answer(422, "the consistency proof does not verify\n")
        self._memory.remember(checkpoint.size, checkpoint.root)
        return Answer(200, cosign(checkpoint.body(), self._name, self._memory.key, self._clock()))


def create_witness(home: Path, log_origin: str, log_key: bytes, name: str, clock: Clock) -> FastAPI:
    """The witness as an application; makes its key in ``home`` on the first start."""
    witness = Witness(Memory(home), log_origin, log_key, name, clock)
    app = FastAPI(title="witness", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/about")
    def about() -> dict[str, Any]:
        return witness.about()

    @app.post("/add-checkpoint")
    async def add_checkpoint(request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > _MAX_REQUEST:
                return Response("too large\n", 400, media_type="text/plain")
        answer = await run_in_threadpool(witness.add_checkpoint, bytes(body))
        return Response(answer.text, answer.status, media_type=answer.media_type)

    return app


def _parse_request(request: bytes) -> tuple[int, list[bytes], str]:
    """Old size, consistency proof, checkpoint text."""
    head, blank, note = request.decode().partition("\n\n")
    first, *lines = head.split("\n")
    old = _OLD_SIZE.fullmatch(first)
    if not blank or old is None or len(lines) > _MAX_PROOF:
        raise MalformedError("not an add-checkpoint request")
    return int(old[1]), [std_unb64(line) for line in lines], note


def _require_extension(size: int, root: bytes, proof: Sequence[bytes], checkpoint: Checkpoint) -> None:
    if size:
        verify_consistency(size, checkpoint.size, proof, root, checkpoint.root)
    elif proof:
        raise ProofInvalidError("a proof from the empty log is empty")


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m dataspace.audit.witness --home … --name … --origin … --log-key … (--uds … | --port …)``."""
    parser = argparse.ArgumentParser(prog="dataspace.audit.witness", description=NOTICE["en"])
    parser.add_argument("--home", type=Path, required=True, help="folder of the witness's key and memory")
    parser.add_argument("--name", required=True, help="name of this witness, e.g. witness.example.org")
    parser.add_argument("--origin", required=True, help="origin line of the log")
    parser.add_argument("--log-key", required=True, help="Ed25519 key of the log, base64 or base64url")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--uds", help="path of a unix socket")
    where.add_argument("--port", type=int, help="port on 127.0.0.1")
    options = parser.parse_args(arguments)
    app = create_witness(options.home, options.origin, _key_bytes(options.log_key), options.name, system_clock)
    if options.uds:
        uvicorn.run(app, uds=options.uds, log_level="warning")
    else:
        uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


def _key_bytes(text: str) -> bytes:
    key = base64.urlsafe_b64decode(text.translate(str.maketrans("+/", "-_")).rstrip("=") + "=")
    if len(key) != 32:
        raise MalformedError("the log's key has 32 bytes")
    return key


if __name__ == "__main__":  # pragma: no cover
    main()
