#!/usr/bin/env bash
# Sets up .venv where needed, then checks style and types and runs the tests. Arguments go to pytest:
#   bash scripts/test.sh -m "not slow" tests/data
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
bash "$root/scripts/setup.sh"
cd -- "$root"
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
.venv/bin/python -m basedpyright
.venv/bin/python -m pytest "$@"
