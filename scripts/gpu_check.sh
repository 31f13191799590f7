#!/usr/bin/env bash
# Tests and measures gsdff on the CUDA card of this machine, in phases of a few minutes each, which continue when they
# are called again:
#   bash scripts/gpu_check.sh build|tests|bench|train|report --out DIR [--data SCENE] ...   (--help lists all options)
# By default with .venv and the locked versions. On a machine without a network, with an interpreter that has torch
# already and the wheels of scripts/pack_wheels.sh:
#   PYTHON=python3 bash scripts/gpu_check.sh build --out DIR --wheels DIR
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
phase="${1:-}"

case "$phase" in
    build | tests | bench | train)
        # gsplat can be compiled without a card, for one that is named
        if [[ "$phase" != build || -z "${TORCH_CUDA_ARCH_LIST:-}" ]] &&
            ! nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | grep -q .; then
            printf 'gpu_check: %s\n' "no CUDA card here (nvidia-smi lists none); run this on a machine with one." >&2
            exit 1
        fi
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
