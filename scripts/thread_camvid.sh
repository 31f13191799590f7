#!/usr/bin/env bash
# From real street photos to scores of text-queried labels: sets up .venv where needed, makes teacher maps, trains both
# stages, evaluates the held-out frames, writes a PLY with features. Arguments go to the training:
#   bash scripts/thread_camvid.sh --stage1.steps 500
# SHARED is the folder with assets/scenes/camvid and assets/teachers/mosaic (../shared by default), MAPS where the maps
# go (400 MB). Making them needs ai-edge-litert, which the locked set-up installs and the package itself does not need.
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
shared="${SHARED:-$root/../shared}"
maps="${MAPS:-$root/build/camvid_maps}"
scene="$shared/assets/scenes/camvid"
teacher="$shared/assets/teachers/mosaic/extract_features.py"
for needed in "$scene/images" "$teacher"; do
    if [[ ! -e "$needed" ]]; then
        printf 'thread_camvid: expected %s; set SHARED to the folder that has it\n' "$needed" >&2
        exit 1
    fi
done

bash "$root/scripts/setup.sh"
cd -- "$root"
if [[ ! -e "$maps/done" ]]; then
    .venv/bin/python "$teacher" --images "$scene/images" --out "$maps" --size 64
    touch "$maps/done"
fi
run=runs/camvid
.venv/bin/python -m gsdff.train --data "$scene" --downscale 2 --teacher precomputed --teacher.maps "$maps" \
    --out "$run" "$@"
.venv/bin/python -m gsdff.evaluate "$run"
.venv/bin/python -m gsdff.export "$run"
printf '\nThe run is in %s:\n' "$root/$run"
printf '  photo | truth | teacher | field, by text:  %s\n' "$root/$run/evaluation/*_labels.png"
printf '  photo | teacher | field, as colours:       %s\n' "$root/$run/evaluation/*_pca.png"
printf '  scores:                                    %s\n' "$root/$run/evaluation/metrics.json"
printf '  the scene with its features:               %s\n' "$root/$run/scene.ply"
