#!/usr/bin/env bash
# Sets up .venv where needed, then runs the main job on the built-in scene: train, evaluate, export.
# Arguments go to the training:   bash scripts/demo.sh --stage1.steps 200
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
bash "$root/scripts/setup.sh"
cd -- "$root"
run=runs/demo
resume=()
if [[ -f "$run/config.toml" ]]; then
    printf 'demo: going on with the run in %s (remove that folder to start afresh)\n' "$root/$run"
    resume=(--resume)
fi
.venv/bin/python -m gsdff.train --data demo --out "$run" "${resume[@]}" "$@"
.venv/bin/python -m gsdff.evaluate "$run"
.venv/bin/python -m gsdff.export "$run"
printf '\nThe run is in %s:\n' "$root/$run"
printf '  held-out views beside their photos:  %s\n' "$root/$run/evaluation"
printf '  held-out views as training went on:  %s\n' "$root/$run/pictures"
printf '  the scene for any 3DGS viewer:       %s\n' "$root/$run/scene.ply"
printf 'Look at it, ask it, edit it:           %s\n' ".venv/bin/python -m gsdff.view $run"
