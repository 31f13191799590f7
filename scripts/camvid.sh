#!/usr/bin/env bash
# Real street photos (CamVid) with hand-made labels: teacher maps, both stages, scores of the held-out frames by text
# against labels, a PLY with features. The classes that compete are those the teacher has a text for: sky, building,
# road, pavement, tree, car, pedestrian. Arguments go to the training:   bash scripts/camvid.sh --stage1.steps 500
set -euo pipefail

source "$(dirname -- "${BASH_SOURCE[0]}")/teacher_maps.sh"
make_maps camvid 128

run=runs/camvid
"$python" -m gsdff.train --data "$scene" --teacher precomputed --teacher.maps "$maps" --out "$run" "${schedule[@]}" "$@"
"$python" -m gsdff.evaluate "$run"
"$python" -m gsdff.export "$run"
show_run "$run"
