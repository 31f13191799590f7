#!/usr/bin/env bash
# Sets up .venv where needed, then checks style and types and runs the tests. Arguments go to pytest:
#   bash scripts/test.sh -m "not slow" tests/data
# In PROCESSES processes (default 2), each with one thread: most tests are too small for more; 0 is none but this one.
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
bash "$root/scripts/setup.sh"
cd -- "$root"
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
.venv/bin/python -m basedpyright
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
.venv/bin/python -m pytest -n "${PROCESSES:-2}" --dist loadfile "$@"
