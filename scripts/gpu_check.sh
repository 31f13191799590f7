#!/usr/bin/env bash
# Tests and measures gsdff on the CUDA card of this machine, in phases of a few minutes each, which continue when they
# are called again:
#   bash scripts/gpu_check.sh build|tests|bench|train|report --out DIR [--data SCENE] ...   (--help lists all options)
# By default with .venv and the locked versions. On a machine without a network, with an interpreter that has torch
# already and the wheels of scripts/pack_wheels.sh:
#   PYTHON=python3 bash scripts/gpu_check.sh build --out DIR --wheels DIR
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
phase="${1:-}" lacks_card=""

has_card() {
    local cards
    cards="$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null)" && [[ -n "$cards" ]]
}

case "$phase" in
    report | -h | --help) ;;
    build) [[ -n "${TORCH_CUDA_ARCH_LIST:-}" ]] || has_card || lacks_card=1 ;; # gsplat compiles for a kind that is named
    *) has_card || lacks_card=1 ;;
esac
if [[ -n "$lacks_card" ]]; then
    printf 'gpu_check: %s\n' "no CUDA card here (nvidia-smi lists none); run this on a machine with one." >&2
    exit 1
fi

case "$phase" in
    build | tests | bench | train)
        if [[ -z "${PYTHON:-}" && " $* " == *" --wheels"[\ =]* ]]; then
            PYTHON=python3
        elif [[ -z "${PYTHON:-}" ]]; then
            bash "$root/scripts/setup.sh"
            PYTHON="$root/.venv/bin/python"
        fi
        ;;
    *) PYTHON="${PYTHON:-python3}" ;; # the report and the help need nothing installed
esac
exec "$PYTHON" "$root/scripts/gpu_check.py" "$@"
