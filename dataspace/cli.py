"""``dataspace``: start the programs of an installation, pin its roots, verify its log."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from dataspace import home
from dataspace.app import configure_logging, create_app
from dataspace.kernel.clock import system_clock
from dataspace.kernel.db import Database, open_engine, sqlite_url
from dataspace.kernel.encoding import unb64
from dataspace.kernel.errors import DataspaceError
from dataspace.serving import run_program, single_instance, tcp_socket, unix_socket
from dataspace.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="A personal data space: service, broker, node, log.")
audit = typer.Typer(no_args_is_help=True, help="Check the log.")
operator = typer.Typer(no_args_is_help=True, help="Suspend and restore operators.")
app.add_typer(audit, name="audit")
app.add_typer(operator, name="operator")


def _fail(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(2)


@app.command()
def init() -> None:
    """Make folders and keys in DATASPACE_HOME; print the public keys."""
    keys = home.initialise(Settings())
    typer.echo(json.dumps(vars(keys), indent=1))


@app.command()
def pin(
    registrar: Annotated[str, typer.Option(help="public key of the district's register, base64url")],
    anchor: Annotated[list[str], typer.Option(help="a node anchor signed by the registrar")],
) -> None:
    """Fix whom broker, node and service trust."""
    try:
        home.pin(Settings(), unb64(registrar, size=32), anchor)
    except DataspaceError as error:
        raise _fail(f"{error.code}: {error.detail}") from error


@app.command()
def serve(host: Annotated[str, typer.Option()] = "127.0.0.1", port: Annotated[int, typer.Option()] = 8000) -> None:
    """Run the service (HTTP); broker, node and witness run beside it."""
    configure_logging()
    settings = Settings()
    with single_instance(settings.service_home):
        listening = [tcp_socket(host, port), unix_socket(settings.sockets / "service.sock")]
        run_program(create_app(settings), listening)


@app.command()
def broker() -> None:
    """Run the key broker on its Unix socket."""
    from dataspace.programs import broker_app

    configure_logging()
    settings = Settings()
    with single_instance(settings.broker_home):
        run_program(broker_app(settings, system_clock), [unix_socket(settings.sockets / "broker.sock")])


@app.command()
def node() -> None:
    """Run a compute node on its Unix socket."""
    from dataspace.programs import node_app

    configure_logging()
    settings = Settings()
    with single_instance(settings.node_home):
        run_program(node_app(settings, system_clock), [unix_socket(settings.sockets / "node.sock")])


@app.command()
def witness() -> None:
    """Run the witness on its Unix socket. Under the same operator as the log it protects against nothing."""
    from dataspace.programs import witness_app

    configure_logging()
    settings = Settings()
    with single_instance(settings.witness_home):
        run_program(witness_app(settings, system_clock), [unix_socket(settings.sockets / "witness.sock")])


@app.command()
def openapi() -> None:
    """Print the OpenAPI document of the service."""
    document = create_app(Settings()).openapi()
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True))


@audit.command("verify")
def verify() -> None:
    """Recompute the whole log from its entries; compare tree, checkpoints, cosignatures and every resident's chain."""
    from dataspace.audit.bodies import BodyKey
    from dataspace.audit.verify import verify_log

    settings = Settings()
    try:
        pins = home.pins_of(settings, "service")
    except home.NotPinnedError as error:
        raise _fail(str(error)) from error
    database = Database(open_engine(settings.database_url or sqlite_url(settings.service_home / "dataspace.db")))
    body_key = BodyKey(home.body_key(settings))
    report = verify_log(database, pins.log_key, pins.log_origin, body_key, pins.witnesses)
    found = {"size": report.size, "root": report.root, "entries": report.entries, "subjects": report.subjects}
    typer.echo(json.dumps(found))
    for problem in report.problems:
        typer.echo(problem, err=True)
    if report.problems:
        raise typer.Exit(1)


@operator.command()
def suspend(operator_id: str) -> None:
    """Stop an operator at its next call."""
    _set_status(operator_id, "suspended")


@operator.command()
def restore(operator_id: str) -> None:
    """Lift a suspension."""
    _set_status(operator_id, "active")


def _set_status(operator_id: str, status: str) -> None:
    from dataspace.identity.store import set_operator_status

    settings = Settings()
    database = Database(open_engine(settings.database_url or sqlite_url(settings.service_home / "dataspace.db")))
    try:
        with database.write() as session:
            set_operator_status(session, operator_id, status)
    except DataspaceError as error:
        raise _fail(f"{error.code}: {error.detail}") from error


if __name__ == "__main__":
    app()
