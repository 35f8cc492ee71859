"""``make bench``: figures with their machine, each beside a baseline of the same run; never asserted."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from tests.bench import bench_compute, bench_decision, bench_individual, bench_log, bench_vault


def machine() -> str:
    """What the figures were taken on."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.split(":", 1)[1].strip() for line in info.splitlines() if "model name" in line), "unknown CPU")
    return (
        f"{os.cpu_count()} cores, {model}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def main() -> None:
    print(machine())
    for bench in (bench_vault, bench_log, bench_decision, bench_compute, bench_individual):
        print(f"\n{bench.__name__.rpartition('.')[2]}: {(bench.__doc__ or '').splitlines()[0]}")
        for line in bench.run():
            print(f"  {line}")


if __name__ == "__main__":
    main()
