"""Running a program: one instance for each folder, on sockets that only their owner can reach."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
import uvicorn
from fastapi import FastAPI

from dataspace.kernel.files import private_folder

_M_ARENA_MAX = -8


@contextmanager
def single_instance(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; a second program on the same folder ends with a clear message."""
    private_folder(folder)
    with (folder / "instance.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            typer.echo(f"another program already runs on {folder}", err=True)
            raise typer.Exit(2) from error
        yield


def unix_socket(path: Path) -> socket.socket:
    """A listening Unix socket, for its owner alone; a left-over of a stopped program is replaced."""
    private_folder(path.parent)
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    finally:
        os.umask(before)
    return listening


def tcp_socket(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        typer.echo(f"cannot listen on {host}:{port}: {error.strerror}", err=True)
        raise typer.Exit(2) from error
    return listening


def run_program(app: FastAPI, listening: list[socket.socket]) -> None:
    """Serve until told to stop."""
    _share_heaps()
    settings = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=5)
    uvicorn.Server(settings).run(sockets=listening)


def _share_heaps() -> None:
    """Two heaps for all threads instead of one each: with glibc's default, freed memory of large requests stays."""
    with contextlib.suppress(OSError, AttributeError):  # another C library has its own ways
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
