#!/usr/bin/env bash
# Sets up .venv if needed, then trains, evaluates and exports the built-in scene.
# Arguments go to the training:   bash scripts/demo.sh --stage1.steps 200
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
bash "$root/scripts/setup.sh"
cd -- "$root"
run=runs/demo
resume=()
if [[ -f "$run/config.toml" ]]; then
    printf 'demo: continuing the run in %s (remove that folder to start again)\n' "$root/$run"
    resume=(--resume)
fi
.venv/bin/gsdff train --data demo --out "$run" "${resume[@]}" "$@"
.venv/bin/gsdff evaluate "$run"
.venv/bin/gsdff export "$run"
printf '\nThe run is in %s:\n' "$root/$run"
printf '  held-out views beside their photos:  %s\n' "$root/$run/evaluation"
printf '  held-out views during training:      %s\n' "$root/$run/pictures"
printf '  the scene for any 3DGS viewer:       %s\n' "$root/$run/scene.ply"
printf 'Next, look at it, query it, edit it:   %s\n' "source .venv/bin/activate && gsdff view $run"
