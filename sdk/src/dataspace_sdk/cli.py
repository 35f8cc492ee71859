"""``dataspace-sdk``: the SDK from a shell. JSON on stdout, one sentence on stderr when something is wrong.

Exit status: 0 done, 1 refused or not verified, 2 wrong usage, 3 still pending, 4 denied.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dataspace_sdk.client import Dataspace
from dataspace_sdk.encoding import Json, members, unb64
from dataspace_sdk.errors import AskInvalidError, ConfigError, DataspaceSdkError, MalformedError
from dataspace_sdk.model import Answered, Ask, Denied
from dataspace_sdk.trust import OperatorIdentity, Trust

FAILED, PENDING, DENIED = 1, 3, 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        with _connect(options.config) as dataspace:
            status: int = options.run(dataspace, options)
            return status
    except DataspaceSdkError as error:
        sys.stderr.write(f"dataspace-sdk: {error.code}: {error}\n")
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dataspace-sdk", description="Ask residents, get authorised answers.")
    parser.add_argument(
        "--config", type=Path, default=Path("dataspace-sdk.json"), help="JSON file (default: %(default)s)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    products = commands.add_parser("products", help="list the products that are listed, verified")
    products.set_defaults(run=_products)
    ask = commands.add_parser("ask", help="ask with an own product")
    ask.add_argument("product", help="product digest")
    ask.add_argument("--handle", help="the resident's one-time handle (individual products)")
    ask.add_argument("--days", type=int, default=30, help="how long the question stays open (default: %(default)s)")
    ask.add_argument("--out", type=Path, required=True, help="new file for the ask; holds the key to the answer")
    ask.set_defaults(run=_ask)
    answer = commands.add_parser("answer", help="fetch and verify the answer")
    answer.add_argument("ask", type=Path, help="file that 'ask' wrote")
    answer.add_argument("--wait", type=float, default=0.0, help="seconds to wait while it is pending")
    answer.set_defaults(run=_answer)
    return parser


def _products(dataspace: Dataspace, _options: argparse.Namespace) -> int:
    _write(
        [
            {
                "product_digest": product.digest,
                "product_id": product.product_id,
                "version": product.version,
                "operator_id": product.operator_id,
                "kind": product.kind,
                "name": product.name,
                "signature_verified": product.signature_verified,
            }
            for product in dataspace.products()
        ]
    )
    return 0


def _ask(dataspace: Dataspace, options: argparse.Namespace) -> int:
    """The ask is on disk before it is sent, so that no crash loses the key to its answer."""
    found = [product for product in dataspace.products() if product.digest == options.product]
    if not found:
        raise AskInvalidError("no such product is listed")
    ask = dataspace.new_ask(found[0], handle=options.handle, days=options.days)
    _write_secret(options.out, json.dumps(ask.to_json()))
    dataspace.send(ask)
    _write({"status": "asked", "request_digest": ask.request_digest, "ask": str(options.out)})
    return 0


def _answer(dataspace: Dataspace, options: argparse.Namespace) -> int:
    outcome = dataspace.wait(Ask.from_json(_read_json(options.ask)), options.wait)
    if isinstance(outcome, Answered):
        said = {"answer": outcome.answer and asdict(outcome.answer), "table": outcome.table and asdict(outcome.table)}
        _write({"status": "answered", **said, "evidence": asdict(outcome.evidence)})
        return 0
    if isinstance(outcome, Denied):
        _write({"status": "denied", "reasons": [asdict(reason) for reason in outcome.reasons]})
        return DENIED
    _write({"status": "asked"})
    return PENDING


def _connect(path: Path) -> Dataspace:
    """The connection that the config file describes; ``key_file`` is relative to it."""
    try:
        config = members(_read_json(path), {"base_url": str, "operator_id": str, "key_file": str, "trust": dict})
    except MalformedError as error:
        raise ConfigError(f"{path}: exactly base_url, operator_id, key_file, trust are needed ({error})") from error
    seed = _read_seed(path.parent / config["key_file"])
    identity = OperatorIdentity(config["operator_id"], seed)
    return Dataspace(config["base_url"], identity, Trust.from_json(config["trust"]))


def _read_seed(path: Path) -> bytes:
    try:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: others may read the key; chmod 600 it")
        return unb64(path.read_text("ascii").strip(), size=32)
    except (OSError, UnicodeDecodeError, MalformedError) as error:
        raise ConfigError(f"{path}: not readable as a 32-byte seed in base64url") from error


def _read_json(path: Path) -> dict[str, Json]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not readable as JSON") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: not a JSON object")
    return found


def _write_secret(path: Path, text: str) -> None:
    """A new file that only its owner may read; an existing one is never overwritten."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written as a new file") from error


def _write(value: Json) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
