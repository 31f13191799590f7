#!/usr/bin/env bash
# On a machine with a CUDA card: builds gsplat, runs the tests marked gpu, the rasteriser's benchmark on CUDA and on the
# CPU, and the CUDA preset on a scene, then appends the figures to docs/benchmarks/<card>.md.
#   bash scripts/gpu_check.sh [--data PATH_TO_FOX]
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"

die() {
    printf 'gpu_check: %s\n' "$1" >&2
    exit 1
}

if ! cards="$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null)" || [[ -z "$cards" ]]; then
    die "no CUDA card here (nvidia-smi lists none); run this on a machine with one. Nothing was written."
fi

data=demo
[[ ! -d "$root/../shared/assets/scenes/fox" ]] || data="$root/../shared/assets/scenes/fox"
case "${1:-}" in
    "") ;;
    --data) data="${2:?gpu_check: --data needs the path of a scene}" ;;
    *) die "expected --data PATH, got $1" ;;
esac
[[ "$data" == demo || -d "$data" ]] || die "$data: no such folder; --data needs the path of a scene"
[[ "$data" == demo ]] || data="$(cd -- "$data" && pwd)"

bash "$root/scripts/setup.sh"
cd -- "$root"
python="$root/.venv/bin/python"
export PATH="$root/.venv/bin:$PATH" # ninja builds gsplat and is installed there

"$python" - <<'PYTHON' || die "the CUDA toolkit and torch do not fit; see the line above."
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from torch.utils.cpp_extension import CUDA_HOME

built_for = torch.version.cuda
if built_for is None:
    sys.exit(f"torch {torch.__version__} is built without CUDA: remove .venv and run this again")
if not torch.cuda.is_available():
    sys.exit(f"torch {torch.__version__} (CUDA {built_for}) cannot use the card: its driver is too old or missing")
nvcc = shutil.which("nvcc", path=f"{CUDA_HOME}/bin") if CUDA_HOME else None
if nvcc is None:
    sys.exit(f"gsplat is compiled here and needs nvcc: install the CUDA toolkit {built_for} and set CUDA_HOME to it")
if not Path(CUDA_HOME, "include", "cuda_runtime.h").is_file():
    sys.exit(f"{CUDA_HOME} has nvcc and no headers: set CUDA_HOME to the toolkit's own folder, as /usr/local/cuda")
release = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
version = release.partition("release ")[2].partition(",")[0]
if version.partition(".")[0] != built_for.partition(".")[0]:
    sys.exit(f"{nvcc} is CUDA {version}, torch is built for {built_for}: set CUDA_HOME to a toolkit of that kind")
for needed in ("c++", "ninja"):
    if shutil.which(needed) is None:
        sys.exit(f"gsplat is compiled here and needs {needed}, which is not on PATH")
PYTHON

if [[ -z "${TORCH_CUDA_ARCH_LIST:-}" ]]; then
    TORCH_CUDA_ARCH_LIST="$("$python" -c 'import torch; print("%d.%d" % torch.cuda.get_device_capability())')"
    export TORCH_CUDA_ARCH_LIST
fi
printf 'gpu_check: building gsplat for compute capability %s; 2 to 15 minutes the first time\n' "$TORCH_CUDA_ARCH_LIST"
"$python" -c 'import sys; from gsplat.cuda._backend import _C; sys.exit(_C is None)' ||
    die "gsplat did not build; the compiler's message is above (VERBOSE=1 shows its commands)."

printf 'gpu_check: the tests marked gpu\n'
"$python" -m pytest -m gpu

run="runs/gpu_check/$(date -u +%Y%m%d-%H%M%S)"
mkdir -p "$run"
for device in cuda cpu; do
    printf 'gpu_check: the rasteriser on %s\n' "$device"
    "$python" scripts/bench_rasterizer.py --device "$device" --no-curve --out "$run/rasterizer_$device.json"
done

printf 'gpu_check: the CUDA preset on %s; 30,000 steps\n' "$data"
began=$SECONDS
"$python" -m gsdff.train --config configs/cuda.toml --data "$data" --device cuda --out "$run/scene"
seconds=$((SECONDS - began))
"$python" -m gsdff.evaluate "$run/scene"

"$python" scripts/append_benchmark.py "$run" --seconds "$seconds"
