#!/usr/bin/env bash
# The rules, by the real OPA: format, types against the input schema, allowed built-ins, tests with full coverage.
# Quiet when fine. Without the binary it says so; CI (CI or REQUIRE_ALL set) refuses that.
set -euo pipefail
cd "$(dirname "$0")/.."
opa=.tools/opa
if [ ! -x "$opa" ]; then
  echo "missing: $opa, so the rules were not checked. Build it with: make setup-opa" >&2
  [ -z "${CI:-}${REQUIRE_ALL:-}" ]
  exit
fi
quietly() {
  local out
  if ! out=$("$@" 2>&1); then
    echo "failed: $*" >&2
    echo "$out" >&2
    exit 1
  fi
}
quietly "$opa" fmt --fail --list policies
quietly "$opa" check --strict --schema policies/schemas --capabilities policies/capabilities.json policies
quietly "$opa" test --coverage --threshold 100 --ignore '*.json' policies
quietly "$opa" test --ignore '*.json' policies
