"""Starts the district's programs, each in its own process, waits until they answer, and ends exactly those."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from dataspace.settings import Settings


class Programs:
    """Child processes by name. Use as a context manager: they end with it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._logs = settings.home / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)

    def start(self, name: str, arguments: Sequence[str], seconds: float = 60.0) -> None:
        """Run ``python -m …`` and wait until it answers on its socket."""
        self.start_all({name: arguments}, seconds)

    def start_all(self, programs: Mapping[str, Sequence[str]], seconds: float = 60.0) -> None:
        """Run several at once and wait until all of them answer."""
        for name, arguments in programs.items():
            self._run(name, arguments)
        for name in programs:
            self._await(name, self._running[name], seconds)

    def _run(self, name: str, arguments: Sequence[str]) -> None:
        settings = self.settings
        environment = {
            **os.environ,
            "DATASPACE_HOME": str(settings.home),
            "DATASPACE_DATABASE_URL": settings.database_url,
        }
        with (self._logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments], env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self._running[name] = process

    def _await(self, name: str, process: subprocess.Popen[bytes], seconds: float) -> None:
        until = time.monotonic() + seconds
        path = "/about" if name == "witness" else "/v1/health"
        while time.monotonic() < until:
            if process.poll() is not None:
                break
            try:
                with self.client(name, 2.0) as client:
                    if client.get(path).is_success:
                        return
            except httpx.HTTPError:
                time.sleep(0.05)
        raise RuntimeError(f"{name} did not start; see {self._logs / name}.log")

    def client(self, name: str, seconds: float = 120.0) -> httpx.Client:
        """HTTP to one of the programs over its Unix socket."""
        transport = httpx.HTTPTransport(uds=str(self.settings.sockets / f"{name}.sock"))
        return httpx.Client(transport=transport, base_url=f"http://{name}", timeout=seconds)

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def stop(self, name: str) -> None:
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self, name: str) -> None:
        """As a power cut would: no chance to finish anything."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def peak_memory_mb(self, name: str) -> int:
        """High-water mark of resident memory."""
        for line in Path(f"/proc/{self.pid(name)}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
        return 0
