#!/usr/bin/env bash
# Sets up .venv from requirements.lock and the system packages that the sandbox needs. Does nothing when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v bwrap >/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing bubblewrap" >&2
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq bubblewrap >/dev/null
  else
    echo "missing: bubblewrap. Install it with: sudo apt-get install bubblewrap" >&2
    exit 1
  fi
fi

stamp=.venv/.installed
want=$(cat requirements.lock pyproject.toml sdk/pyproject.toml tools/setup.sh | sha256sum)
[ "$(cat $stamp 2>/dev/null)" = "$want" ] && exit 0

python=$(command -v python3.11 || command -v python3)
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m uv --version >/dev/null 2>&1 || .venv/bin/python -m pip install --quiet 'uv==0.13.9'
echo "installing the locked packages into .venv" >&2
.venv/bin/python -m uv pip install --quiet --compile-bytecode --python .venv/bin/python --require-hashes -r requirements.lock
.venv/bin/python -m uv pip install --quiet --python .venv/bin/python --no-deps -e . -e ./sdk
echo "$want" > $stamp
