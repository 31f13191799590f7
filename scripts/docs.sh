#!/usr/bin/env bash
# Builds the documentation into build/docs; a warning (a broken link, a missing name) is an error. No network is used.
# If the built-in scene has been trained (bash scripts/demo.sh), its share page is a part of it.
# Arguments go to sphinx-build:   bash scripts/docs.sh --fresh-env
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
bash "$root/scripts/setup.sh"
cd -- "$root"
rm -rf build/share
if [[ -f runs/demo/scene.basis.safetensors ]]; then
    mkdir -p build/share
    .venv/bin/gsdff export runs/demo --format html --out build/share/demo.html
fi
.venv/bin/python -m sphinx --builder html --fail-on-warning --keep-going --quiet docs build/docs "$@"
printf 'docs: open %s\n' "$root/build/docs/index.html"
