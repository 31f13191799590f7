#!/usr/bin/env bash
# Builds the documentation into build/docs; a warning (a broken link, a missing name) is an error. No network is used.
# Arguments go to sphinx-build:   bash scripts/docs.sh --fresh-env
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
bash "$root/scripts/setup.sh"
cd -- "$root"
.venv/bin/python -m sphinx --builder html --fail-on-warning --keep-going --quiet docs build/docs "$@"
printf 'docs: open %s\n' "$root/build/docs/index.html"
